"""`foveal token`: what it writes, what it tells once, and what it refuses."""

from __future__ import annotations

import datetime
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from commands import Done, foveal, one_line

from foveal_runtime.access.roles import Role
from foveal_runtime.access.tokenfile import read_tokens
from foveal_runtime.access.tokens import new_token
from foveal_runtime.errors import ConfigError, UnknownTokenError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def token(file: Path, *words: str) -> Done:
    return foveal("token", *words, "--file", str(file))


def test_a_token_is_told_once_and_the_file_can_not_make_it_again(file: Path) -> None:
    made = token(file, "add", "camera-1", "--role", "grade", "--role", "search", "--expires", "30")
    text = made.stdout.strip()
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert made.stderr.startswith("camera-1: grade, search until ")
    assert text not in made.stderr
    kept = file.read_text()
    assert text.split("_")[2] not in kept
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    row = read_tokens(file).of_token(text)
    assert (row.name, row.roles) == ("camera-1", {Role.GRADE, Role.SEARCH})
    listed = token(file, "list")
    assert "camera-1: grade, search until " in listed.stdout
    assert text.split("_")[2] not in listed.stdout + repr(row)
    (told,) = json.loads(token(file, "list", "--json").stdout)["tokens"]
    assert (told["roles"], told["expired"]) == (["grade", "search"], False)


def test_the_same_secret_has_another_hash_in_each_row_and_each_token_256_random_bits() -> None:
    made = [new_token() for _ in range(200)]
    assert len({text for text, _ in made} | {kept.salt for _, kept in made}) == 400
    assert all(len(text.split("_")[2]) == 64 for text, _ in made)


def test_change_and_revoke_work_on_one_row_and_leave_its_token(file: Path) -> None:
    text = token(file, "add", "a", "--role", "grade", "--expires", "30").stdout.strip()
    other = token(file, "add", "b", "--role", "admin", "--expires", "2030-06-30").stdout.strip()
    assert read_tokens(file).of_token(other).expires == datetime.datetime(2030, 7, 1, tzinfo=datetime.UTC)
    assert token(file, "change", "a", "--role", "search").returncode == 0
    assert read_tokens(file).of_token(text).roles == {Role.SEARCH}
    expires = read_tokens(file).of_token(text).expires
    assert token(file, "change", "a", "--expires", "60").returncode == 0
    assert read_tokens(file).of_token(text).expires > expires
    assert token(file, "revoke", "a").returncode == 0
    with pytest.raises(UnknownTokenError):
        read_tokens(file).of_token(text)
    assert read_tokens(file).of_token(other).name == "b"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a", "--role", "grade", "--expires", "yesterday"), "--expires is 'yesterday'; give the last day"),
        (("add", "a", "--role", "grade", "--expires", "2020-01-01"), "--expires 2020-01-01 is over"),
        (("add", "a", "--role", "grade", "--expires", "20300101"), "too far off"),
        (("add", "a", "--role", "grade", "--expires", "0"), "--expires 0 is over"),
        (("add", "two words", "--role", "grade", "--expires", "3"), "log lines"),
        (("add", "a\nforged", "--role", "grade", "--expires", "3"), "log lines"),
        (("add", "a", "--role", "grade", "--expires", "3", "--certificate", "camera-1"), "not written CN=NAME or SAN=NAME"),
        (("add", "there", "--role", "grade", "--expires", "3"), "there is there; revoke it first"),
        (("add", "a", "--role", "owner", "--expires", "3"), "Choose from"),
        (("revoke", "nobody"), "no caller of that name"),
        (("change", "there"), "nothing to change"),
    ],
)
def test_what_can_not_be_is_one_line_and_changes_nothing(file: Path, words: tuple[str, ...], said: str) -> None:
    token(file, "add", "there", "--role", "grade", "--expires", "3")
    before = file.read_bytes()
    done = token(file, *words)
    assert done.returncode == 2
    assert said in one_line(done.stderr)
    assert done.stdout == ""
    assert file.read_bytes() == before


def test_a_file_that_was_changed_by_hand_is_read_strictly_and_quoted_nowhere(file: Path) -> None:
    token(file, "add", "a", "--role", "grade", "--expires", "3")
    good = file.read_text()
    for broken in (
        "",
        "[]",
        good.replace('"format": 1', '"format": 2'),
        good.replace('"grade"', '"owner-s3cret"'),
        good.replace('"salt": "', '"salt": "s3cret'),
        good.replace('"name"', '"extra": 1, "name"'),
        good.replace("Z", ""),
        good.replace('"a"', '"a b-s3cret"'),
        good.replace('"roles": [\n        "grade"\n      ]', '"roles": []'),
    ):
        assert broken != good
        file.write_text(broken)
        with pytest.raises(ConfigError, match="can't be used") as caught:
            read_tokens(file)
        assert "s3cret" not in str(caught.value)
    document = json.loads(good)
    document["tokens"] *= 2
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="share a name"):
        read_tokens(file)
    file.write_text(good)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_tokens(file)
    assert "chmod 600" in one_line(token(file, "list").stderr)


def test_two_that_change_the_file_at_once_lose_nothing_and_no_reader_finds_half(file: Path) -> None:
    token(file, "add", "first", "--role", "grade", "--expires", "3")
    done, stop = list[int](), threading.Event()

    def read() -> None:
        while not stop.is_set():
            read_tokens(file)
            done.append(1)

    from foveal_runtime.access.tokenfile import change_tokens
    from foveal_runtime.access.tokens import Row, Tokens

    def write(who: int) -> None:
        for number in range(20):
            _, kept = new_token()
            end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
            row = Row(name=f"n{who}-{number}", roles=frozenset({Role.GRADE}), expires=end, token=kept)
            change_tokens(file, lambda tokens, row=row: Tokens((*tokens.rows, row)))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(who,)) for who in range(2)]
    reader.start()
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    stop.set()
    reader.join()
    assert done
    assert len(read_tokens(file).rows) == 41
    assert os.listdir(file.parent) == ["tokens.json"]  # noqa: PTH208


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own files of another user")
def test_what_an_administrator_changes_stays_the_services(file: Path) -> None:
    token(file, "add", "a", "--role", "grade", "--expires", "3")
    os.chown(file, 65534, 65534)
    link = file.with_name("link.json")
    link.symlink_to(file)
    token(link, "add", "b", "--role", "grade", "--expires", "3")
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (65534, 65534, 0o600)
    assert link.is_symlink()
