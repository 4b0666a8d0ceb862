"""The log of a real server: its life without -v, the same in text and in JSON, one line a call apart, no line forged."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bundles import photograph, write_bundle
from limits import files_of_at_most
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.cli.local_server import LocalServer
from foveal_runtime.cli.logs import AccessFile, JsonLines, TextLines
from foveal_runtime.client import Client
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import BundleError
from foveal_runtime.lifecycle import ACCESS, Event
from foveal_runtime.rpc.request_id import NamesCalls

SECRET = "Zebrafink"
LIFE = [
    Event.START, Event.SERVING, Event.UPGRADED, Event.ROLLED_BACK, Event.REFUSED, Event.WORKER_LOST, Event.WORKER_RESTARTED,
    Event.STOPPING, Event.STOPPED,
]  # fmt: skip


class QuietServer(RunningServer):
    """`RunningServer` without its -v."""

    def __init__(self, bundle: Path, *flags: str) -> None:
        super().__init__(bundle, *flags)
        self._command.remove("-v")


def live(folder: Path, log_format: str) -> tuple[list[str], list[str]]:
    """A server's life: the lines of its log, and those of its access log."""
    link, access = folder / f"{log_format}-link", folder / f"{log_format}-access.log"
    link.symlink_to(folder / "old")
    with QuietServer(link, "--log-format", log_format, "--access-log", str(access)) as server, server.client() as client:
        # The last one is asked for too: a server that saw by itself that the link had moved would put away the worker that dies
        # below, and start no other in its place.
        for target in ("new", "old", "broken", "old"):
            point(link, folder / target)
            reload(client, refused=target == "broken")
        (worker,) = (pid for pid in server.workers() if b"serving.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        server.wait_for("another worker is up", 60)
        graded_and_refused(server)
    return server.lines, access.read_text().splitlines()


def point(link: Path, target: Path) -> None:
    fresh = link.with_suffix(".next")
    fresh.symlink_to(target)
    fresh.rename(link)


def reload(client: Client, *, refused: bool) -> None:
    if refused:
        with pytest.raises(BundleError):
            client.reload()
    else:
        client.reload()


def graded_and_refused(server: LocalServer) -> None:
    """One call that is answered and one that is not, by the names `good-one` and `bad-one`."""
    study = study_pb2.Study(id=SECRET, note=f"macula {SECRET}", image=study_pb2.Image(encoded=photograph(1)))
    with open_channel(server.address) as channel:
        stub: Any = screening_pb2_grpc.ScreeningStub(channel)  # type: ignore[no-untyped-call]
        stub.Grade(screening_pb2.GradeRequest(studies=[study]), timeout=60, metadata=(("x-request-id", "good-one"),))
        refused = stub.Grade.future(
            screening_pb2.GradeRequest(studies=[study], operating_point=SECRET),
            timeout=60,
            metadata=(("x-request-id", "bad-one"),),
        )
        assert refused.exception(60) is not None


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[list[str], list[str]]]]:
    folder = tmp_path_factory.mktemp("logs")
    write_bundle(folder / "old")
    write_bundle(folder / "new", seed=5)
    (folder / "broken").mkdir()
    with ThreadPoolExecutor() as pool:
        formats = ("text", "json")
        yield dict(zip(formats, pool.map(live, [folder] * 2, formats), strict=True))


def test_every_line_is_one_object_with_its_event_and_the_life_is_whole(lives: dict[str, tuple[list[str], list[str]]]) -> None:
    log, access = lives["json"]
    found = [json.loads(line) for line in log]
    assert [each["event"] for each in found if "event" in each and not again(each["message"])] == LIFE
    assert all({"time", "level", "logger", "message"} <= each.keys() for each in found)
    upgraded = next(each for each in found if each.get("event") == "upgraded")
    assert upgraded["bundle_sha256"] != upgraded["before_sha256"]
    calls = [json.loads(line) for line in access]
    assert [(each["request_id"], each["method"], each["outcome"]) for each in calls if each["method"] == "Grade"] == [
        ("good-one", "Grade", "OK"),
        ("bad-one", "Grade", "InputError"),
    ]
    assert all(each["caller"] == "ipv4:127.0.0.1" and each["ms"] >= 0 for each in calls)


def again(message: str) -> bool:
    """The server saw by itself that the link had moved, before or after it was asked to reload."""
    return bool(re.match(r"now serving bundle \S+ as default", message))


def told(lines: list[str]) -> list[str]:
    """What a text log says, without times, ports, hashes and names of folders."""
    messages = [re.sub(r"^\S+ \S+ [A-Z]+ \S+ \[\S+\]: |^warning: ", "", line.rstrip("\n")) for line in lines]
    return [re.sub(r"[0-9a-f]{12}|\S*/\S+|\d+(\.\d+)?", "#", message) for message in messages if not again(message)]


def test_text_says_the_same(lives: dict[str, tuple[list[str], list[str]]]) -> None:
    for text, as_json in zip(lives["text"], lives["json"], strict=True):
        assert told(text) == told([json.loads(line)["message"] for line in as_json])
    assert any("[good-one]: Grade OK" in line for line in lives["text"][1])


def test_no_line_holds_what_a_caller_said_of_a_patient_and_calls_are_apart(
    lives: dict[str, tuple[list[str], list[str]]],
) -> None:
    for log, access in lives.values():
        assert not any(SECRET in line for line in (*log, *access))
        assert not any("Grade" in line for line in log)


def formatted(formatter: logging.Formatter, message: str) -> str:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(NamesCalls())
    handler.handle(logging.makeLogRecord({"name": ACCESS, "levelname": "INFO", "msg": message}))
    return out.getvalue()


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()], ids=["text", "json"])
def test_a_name_in_a_certificate_begins_no_line_and_moves_no_cursor(formatter: logging.Formatter) -> None:
    line = formatted(formatter, "Grade OK, from clinic\nERROR forged \x1b[2J\u2028next")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\u2028" not in line


def test_an_access_log_that_was_moved_away_is_begun_again(tmp_path: Path) -> None:
    handler = AccessFile(str(tmp_path / "access.log"))
    handler.handle(logging.makeLogRecord({"msg": "one"}))
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    handler.handle(logging.makeLogRecord({"msg": "two"}))
    handler.close()
    assert (tmp_path / "access.log.1").read_text() == "one\n"
    assert (tmp_path / "access.log").read_text() == "two\n"
    assert (tmp_path / "access.log").stat().st_mode & 0o027 == 0


def test_an_access_log_on_a_full_disk_says_so_once_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = AccessFile(str(tmp_path / "access.log"))
    caplog.set_level(logging.INFO)
    with files_of_at_most(0):
        for _ in range(3):
            handler.handle(logging.makeLogRecord({"msg": "lost"}))
    handler.handle(logging.makeLogRecord({"msg": "kept"}))
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        "the access log can't be written",
        "the access log is written again",
    ]
    assert "Traceback" not in capsys.readouterr().err
    handler.close()
