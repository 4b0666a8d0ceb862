"""The trail's writer and its chain: durable, whole, one writer, nothing torn or changed unseen, back when the disk is."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limits import files_of_at_most

from foveal_runtime.audit import trail as trail_module
from foveal_runtime.audit.chain import Place, read_trail
from foveal_runtime.audit.record import FIRST
from foveal_runtime.audit.segments import segments
from foveal_runtime.audit.trail import Trail
from foveal_runtime.errors import AuditError, CheckFailed, ConfigError

WAIT_S = 20


def bodies(*numbers: int) -> list[dict[str, Any]]:
    return [{"call": "Grade", "verdict": "graded", "number": number} for number in numbers]


def written(folder: Path, *numbers: int, **options: Any) -> Path:
    """A trail with these records, closed."""
    trail = Trail(folder, **options)
    for number in numbers:
        trail.append(bodies(number)).result(WAIT_S)
    trail.close()
    return folder


def numbers_of(folder: Path, place: Place | None = None) -> list[int]:
    return [record["number"] for record in read_trail(folder, place) if "number" in record]


def lines_of(folder: Path) -> list[bytes]:
    (segment,) = segments(folder)
    return segment.path.read_bytes().splitlines(keepends=True)


def put(folder: Path, lines: list[bytes]) -> None:
    (segment,) = segments(folder)
    segment.path.write_bytes(b"".join(lines))


class Recovery:
    """Waits for the writer to lose and find its disk."""

    def __init__(self, trail: Trail) -> None:
        self._changed = threading.Condition()
        self._trail = trail
        trail.on_change = self._notify

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait(self, until: Callable[[Trail], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: until(self._trail), WAIT_S)


def test_a_reader_without_foveal_can_check_the_chain(tmp_path: Path) -> None:
    import hashlib

    previous = FIRST
    for line in lines_of(written(tmp_path / "trail", 1, 2, 3)):
        record = json.loads(line)
        assert record["previous"] == previous
        previous = record["hash"]
        assert hashlib.sha256(line[: line.index(b',"hash":')]).hexdigest() == previous


def test_a_trail_goes_on_where_it_ended_in_files_that_others_cannot_read(tmp_path: Path) -> None:
    written(tmp_path / "trail", 1, 2)
    written(tmp_path / "trail", 3)
    assert numbers_of(tmp_path / "trail") == [1, 2, 3]
    assert all(segment.path.stat().st_mode & 0o077 == 0 for segment in segments(tmp_path / "trail"))


def test_segments_follow_each_other_in_one_chain(tmp_path: Path) -> None:
    written(tmp_path / "trail", *range(12), segment_bytes=700)
    written(tmp_path / "trail", 12, segment_bytes=700)
    assert len(segments(tmp_path / "trail")) > 3
    assert numbers_of(tmp_path / "trail") == list(range(13))


def test_older_segments_can_be_archived_and_the_rest_checked_after_their_hash(tmp_path: Path) -> None:
    folder = written(tmp_path / "trail", *range(12), segment_bytes=700)
    place = Place()
    first, second, *_ = segments(folder)
    hashes = {record["sequence"]: record["hash"] for record in read_trail(folder, place)}
    first.path.rename(tmp_path / first.path.name)
    with pytest.raises(CheckFailed, match=rf"records 1 to {second.first - 1} are missing"):
        numbers_of(folder)
    assert len(numbers_of(folder, Place(hash=hashes[second.first - 1]))) == 12 - second.first + 1
    with pytest.raises(CheckFailed, match="hash of the record before it"):
        numbers_of(folder, Place(hash="f" * 64))


def test_one_fsync_is_for_all_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go, calls = threading.Event(), threading.Event(), []
    true_sync = os.fdatasync

    def slow(file: int) -> None:
        calls.append(file)
        reached.set()
        assert go.wait(WAIT_S)
        true_sync(file)

    monkeypatch.setattr(trail_module.os, "fdatasync", slow)
    trail = Trail(tmp_path / "trail")
    first = trail.append(bodies(0))
    assert reached.wait(WAIT_S)
    others = [trail.append(bodies(number)) for number in range(1, 50)]
    assert not any(each.done() for each in (first, *others)), "nothing is said before the disk has it"
    go.set()
    for each in (first, *others):
        each.result(WAIT_S)
    trail.close()
    assert len(calls) == 2
    assert numbers_of(tmp_path / "trail") == list(range(50))


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail")
    with pytest.raises(ConfigError, match="another server"):
        Trail(tmp_path / "trail")
    trail.append(bodies(1)).result(WAIT_S)
    trail.close()
    assert numbers_of(written(tmp_path / "trail", 2)) == [1, 2]


@pytest.mark.parametrize("kept", [1, 100, -1], ids=["a byte", "a half", "all but the newline"])
def test_a_torn_end_is_said_by_a_check_and_cut_off_at_the_next_start(tmp_path: Path, kept: int) -> None:
    folder = written(tmp_path / "trail", 1, 2)
    whole, last = lines_of(folder)
    put(folder, [whole, last[:kept]])
    place = Place()
    assert numbers_of(folder, place) == [1]
    assert place.torn_bytes == len(last[:kept])
    trail = Trail(folder)
    assert trail.torn_bytes == len(last[:kept])
    trail.append(bodies(3)).result(WAIT_S)
    trail.close()
    assert numbers_of(folder) == [1, 3]


def test_blocks_that_a_power_cut_left_empty_are_torn(tmp_path: Path) -> None:
    folder = written(tmp_path / "trail", 1, 2)
    whole, last = lines_of(folder)
    put(folder, [whole, last[:50] + bytes(4096)])
    assert numbers_of(written(folder, 3)) == [1, 3]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


CHANGES = {
    "a bit": (lambda lines: [lines[0], lines[1].replace(b"graded", b"gradee"), *lines[2:]], "record 2 is wrong"),
    "a hash as well": (lambda lines: [lines[0], _sealed_again(lines[1]), *lines[2:]], "record 3 is wrong"),
    "removed": (lambda lines: [lines[0], *lines[2:]], "record 2 is wrong"),
    "swapped": (swapped, "record 2 is wrong"),
    "repeated": (lambda lines: [*lines[:2], lines[1], *lines[2:]], "record 3 is wrong"),
    "put in between": (lambda lines: [lines[0], b'{"sequence":2}\n', *lines[1:]], "record 2 is wrong"),
    "the first removed": (lambda lines: lines[1:], "record 1 is wrong"),
    "the last changed": (lambda lines: [*lines[:-1], lines[-1].replace(b"graded", b"gradee")], "record 5 is wrong"),
    "emptied": (lambda lines: [lines[0], bytes(len(lines[1]) - 1) + b"\n", *lines[2:]], "record 2 is wrong"),
}


def _sealed_again(line: bytes) -> bytes:
    """What somebody who knows the format would write."""
    from foveal_runtime.audit.record import seal

    record = json.loads(line)
    sequence, previous = record.pop("sequence"), record.pop("previous")
    del record["hash"]
    return seal({**record, "verdict": "ungradable"}, sequence, previous)[0]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_trail_is_refused_by_its_first_wrong_record_and_not_written_on(tmp_path: Path, change: str) -> None:
    folder = written(tmp_path / "trail", 1, 2, 3, 4, 5)
    how, says = CHANGES[change]
    put(folder, how(lines_of(folder)))
    with pytest.raises(CheckFailed, match=says):
        numbers_of(folder)
    with pytest.raises(CheckFailed, match=says):
        Trail(folder)


def test_a_full_disk_refuses_leaves_nothing_torn_and_is_written_again_by_itself(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail", try_again_s=0.01)
    recovery = Recovery(trail)
    trail.append(bodies(1)).result(WAIT_S)
    (segment,) = segments(tmp_path / "trail")
    size = segment.path.stat().st_size
    with files_of_at_most(size + 100):
        refused = trail.append(bodies(2))
        with pytest.raises(AuditError, match="can't be written"):
            refused.result(WAIT_S)
        assert segment.path.stat().st_size == size, "nothing of the record that did not fit is left"
        with pytest.raises(AuditError):
            trail.check()
        with pytest.raises(AuditError):
            trail.append(bodies(3)).result(WAIT_S)
        trail.note({"call": "server", "verdict": "serving"})
    recovery.wait(lambda trail: not trail.failure)
    trail.append(bodies(4)).result(WAIT_S)
    trail.close()
    records = list(read_trail(tmp_path / "trail"))
    assert [record.get("number", record["verdict"]) for record in records] == [1, "serving", "interrupted", 4]
    assert records[2]["reason"] == os.strerror(errno.EFBIG)


@pytest.mark.parametrize("call", ["write", "fdatasync", "ftruncate"])
def test_a_disk_that_fails_in_any_call_acknowledges_nothing_and_keeps_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Half of each record is written before the write fails."""
    broken = threading.Event()
    true = {name: getattr(os, name) for name in ("write", "fdatasync", "ftruncate")}

    def write(file: int, data: memoryview) -> int:
        if broken.is_set() and call != "fdatasync":
            if len(data) < 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(true["write"](file, data[: len(data) // 2]))
        return int(true["write"](file, data))

    def failing(name: str) -> Callable[..., None]:
        def run(*arguments: int) -> None:
            if broken.is_set() and call == name:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            true[name](*arguments)

        return run

    monkeypatch.setattr(trail_module.os, "write", write)
    monkeypatch.setattr(trail_module.os, "fdatasync", failing("fdatasync"))
    monkeypatch.setattr(trail_module.os, "ftruncate", failing("ftruncate"))
    trail = Trail(tmp_path / "trail", try_again_s=0.01)
    recovery = Recovery(trail)
    trail.append(bodies(1)).result(WAIT_S)
    broken.set()
    with pytest.raises(AuditError):
        trail.append(bodies(2)).result(WAIT_S)
    broken.clear()
    recovery.wait(lambda trail: not trail.failure)
    trail.append(bodies(3)).result(WAIT_S)
    trail.close()
    assert numbers_of(tmp_path / "trail") == [1, 3]


def test_a_file_that_was_taken_away_under_the_writer_is_noticed(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail", try_again_s=0.01)
    recovery = Recovery(trail)
    trail.append(bodies(1)).result(WAIT_S)
    (segment,) = segments(tmp_path / "trail")
    segment.path.rename(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="moved or removed"):
        trail.append(bodies(2)).result(WAIT_S)
    (tmp_path / "elsewhere").rename(segment.path)
    recovery.wait(lambda trail: not trail.failure)
    trail.close()
    assert numbers_of(tmp_path / "trail") == [1]


def test_a_record_that_cannot_be_written_as_json_does_not_end_the_writer(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "trail", try_again_s=0.01)
    recovery = Recovery(trail)
    with pytest.raises(AuditError):
        trail.append([{"call": "Grade", "verdict": "graded", "probability": float("nan")}]).result(WAIT_S)
    recovery.wait(lambda trail: not trail.failure)
    trail.append(bodies(2)).result(WAIT_S)
    trail.close()
    assert numbers_of(tmp_path / "trail") == [2]


def test_a_folder_that_can_not_be_made_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written in"):
        Trail(tmp_path / "file" / "trail")
