"""`foveal grade` of folders and of many files, against a real server."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from commands import foveal, on_a_screen, one_line
from servers import RunningServer

from foveal_runtime.cli.asking import REQUEST_STUDIES, answered
from foveal_runtime.errors import ImageError, InputError, UnavailableError
from foveal_runtime.study.study import Study


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """A folder of photographs, some of them below it, among other files."""
    folder = tmp_path / "clinic"
    (folder / "visit-2").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for i, name in enumerate(("b.jpg", "a.PNG", "visit-2/left.jpeg", "visit-2/right.JPG")):
        (folder / name).write_bytes(photograph(i))
    for name in ("notes.txt", "visit-2/table.csv", ".cache/c.jpg"):
        (folder / name).write_bytes(b"not for grading")
    return folder


def test_a_folder_is_every_photograph_in_it_and_below_in_order(server: RunningServer, clinic: Path) -> None:
    done = foveal("grade", str(clinic), "--json", "--address", server.address)
    assert done.returncode == 0, done.stderr
    names = [str(Path(row["file"]).relative_to(clinic)) for row in json.loads(done.stdout)]
    assert names == ["a.PNG", "b.jpg", "visit-2/left.jpeg", "visit-2/right.JPG"]
    assert done.stderr.splitlines() == [
        f"skipped: {clinic}/.cache: hidden",
        f"skipped: {clinic}/notes.txt: by its suffix no photograph",
        f"skipped: {clinic}/visit-2/table.csv: by its suffix no photograph",
    ]


def test_files_and_folders_are_answered_in_the_order_they_are_named(
    server: RunningServer, clinic: Path, tmp_path: Path
) -> None:
    (tmp_path / "z.jpg").write_bytes(photograph(9))
    named = [str(tmp_path / "z.jpg"), str(clinic / "visit-2"), str(clinic / "b.jpg")]
    done = foveal("grade", *named, "--address", server.address)
    assert done.returncode == 0
    files = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert files == [named[0], f"{named[1]}/left.jpeg", f"{named[1]}/right.JPG", named[2]]


def test_many_photographs_come_in_their_order_and_a_bad_one_fails_alone(server: RunningServer, tmp_path: Path) -> None:
    for i in range(3 * REQUEST_STUDIES):
        (tmp_path / f"{i:03}.jpg").write_bytes(photograph(i, width=64, height=48))
    (tmp_path / "007.jpg").write_text("no photograph")
    (tmp_path / "020.jpg").write_bytes(b"")
    done = foveal("grade", str(tmp_path), "--csv", "--address", server.address)
    assert done.returncode == 2
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [Path(row["file"]).name for row in rows] == [f"{i:03}.jpg" for i in range(3 * REQUEST_STUDIES)]
    failed = {Path(row["file"]).name: row for row in rows if row["verdict"] == "failed"}
    assert set(failed) == {"007.jpg", "020.jpg"}
    assert all(row["message"] and not row["icdr"] and not row["referral"] for row in failed.values())
    assert [line.split(": ")[1].rpartition("/")[2] for line in done.stderr.splitlines()] == ["007.jpg", "020.jpg"]


def test_csv_says_what_json_says(server: RunningServer, clinic: Path) -> None:
    address = ("--address", server.address)
    (row, *_) = csv.DictReader(io.StringIO(foveal("grade", str(clinic), "--csv", *address).stdout))
    (document, *_) = json.loads(foveal("grade", str(clinic), "--json", *address).stdout)
    assert row["icdr"] == str(document["icdr"]["grade"])
    assert [float(row[f"icdr_p{grade}"]) for grade in range(5)] == document["icdr"]["probabilities"]
    assert float(row["probability"]) == document["referable"]["probability"]
    assert row["referral"] == ("refer" if document["referable"]["decision"] else "not_referable")
    assert row["operating_point"] == document["referable"]["operating_point"]["name"]
    assert (row["status"], row["verdict"], row["quality"]) == ("OK", "graded", "gradable")


def test_a_folder_without_a_photograph_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    done = foveal("grade", str(tmp_path), "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert f"{tmp_path} holds no photograph (.jpg" in one_line(done.stderr)


@pytest.mark.parametrize("columns", [80, 60])
def test_on_a_screen_it_is_a_table_that_the_screen_holds(server: RunningServer, clinic: Path, columns: int) -> None:
    lines = on_a_screen(columns, "grade", str(clinic), "--address", server.address).stdout.splitlines()
    assert lines[0].split() == ["photograph", "ICDR", "p", "set", "SDRG", "referral", "p(refer)"]
    assert max(map(len, lines[1:5])) <= max(columns, 80)


def test_a_server_that_goes_away_half_way_costs_only_what_it_had_not_answered(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.jpg" for i in range(5 * REQUEST_STUDIES)]
    sent: list[int] = []

    def call(studies: list[Study]) -> object:
        from foveal_runtime._proto import screening_pb2

        sent.append(len(studies))
        if studies[0].id != "0":
            raise UnavailableError("it went away")
        return screening_pb2.GradeResponse(results=[{"id": s.id, "grade": {"graded": {}}} for s in studies])

    rows = list(answered(files, lambda place, file: Study(id=str(place), image=b"x"), call))
    assert [row.file for row in rows] == files
    assert all(not isinstance(row.answer, UnavailableError) for row in rows[:REQUEST_STUDIES])
    assert all(isinstance(row.answer, UnavailableError) for row in rows[REQUEST_STUDIES:])
    assert len(sent) < 5, "it is not asked for what it can't answer"


def test_a_request_that_fails_before_any_answer_is_the_whole_commands_error(tmp_path: Path) -> None:
    def call(studies: list[Study]) -> object:
        raise UnavailableError("nothing listens")

    files = [tmp_path / f"{i}.jpg" for i in range(40)]
    with pytest.raises(UnavailableError):
        list(answered(files, lambda place, file: Study(id=str(place), image=b"x"), call))


def test_one_file_that_no_request_can_hold_fails_alone(tmp_path: Path) -> None:
    def read(place: int, file: Path) -> Study:
        if place == 1:
            raise ImageError("the file is empty")
        return Study(id=str(place), image=b"x" * (1 + place) * (30 << 20 if place == 0 else 1))

    def call(studies: list[Study]) -> object:
        from foveal_runtime._proto import screening_pb2

        if any(len(study.image or b"") > 1 << 20 for study in studies):
            raise InputError("the message is too large")
        return screening_pb2.GradeResponse(results=[{"id": s.id, "grade": {"graded": {}}} for s in studies])

    rows = list(answered([tmp_path / name for name in "abc"], read, call))
    assert [type(row.answer).__name__ for row in rows] == ["InputError", "ImageError", "GradeResult"]


def test_a_subfolder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs in it would else be missing in silence."""
    (tmp_path / "a.jpg").write_bytes(photograph())

    def walk(root: Path, onerror: object = None) -> Iterator[object]:
        assert callable(onerror)
        yield str(root), [], ["a.jpg"]
        onerror(PermissionError(13, "Permission denied", str(root / "closed")))

    monkeypatch.setattr("foveal_runtime.study.photographs.os.walk", walk)
    done = foveal("grade", str(tmp_path), "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert f"{tmp_path}/closed: Permission denied" in one_line(done.stderr)
