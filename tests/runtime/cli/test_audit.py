"""`foveal audit`: the exit code is the verdict, exports are whole, and a replay finds what was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bundles import add_trust, photograph, write_bundle
from commands import Done, foveal, one_line
from servers import RunningServer

from foveal_runtime.audit.chain import read_trail
from foveal_runtime.audit.record import FIRST, seal
from foveal_runtime.audit.segments import segments
from foveal_runtime.study.study import Study

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def folder(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail of one server, and the photographs that it graded."""
    made = tmp_path_factory.mktemp("audit")
    (made / "photographs").mkdir()
    blank = b"GIF89a, no photograph"
    for name, data in {**{f"{seed}.jpg": photograph(seed) for seed in SEEDS}, "broken.jpg": blank}.items():
        (made / "photographs" / name).write_bytes(data)
    with RunningServer(bundle_path, "--audit", str(made / "trail")) as server, server.client() as client:
        client.grade([Study(image=photograph(seed)) for seed in SEEDS])
        client.grade([Study(image=photograph(1))], operating_point="screening")
        client.grade([Study(image=blank)])
        client.grade([Study(image=photograph(9))])
        client.grade([Study(image=photograph(1), note="macula")])
    return made


def copied(folder: Path, to: Path, change: Any = lambda lines: lines) -> Path:
    """The trail elsewhere, its lines changed."""
    (segment,) = segments(folder / "trail")
    to.mkdir()
    (to / segment.path.name).write_bytes(b"".join(change(segment.path.read_bytes().splitlines(keepends=True))))
    return to


def document(done: Done) -> Any:
    return json.loads(done.stdout)


def test_a_whole_trail_is_exit_code_0_and_its_head_can_be_noted(folder: Path) -> None:
    done = foveal("audit", "verify", str(folder / "trail"))
    assert done.returncode == 0
    assert "whole: 10 records" in done.stdout
    head = list(read_trail(folder / "trail"))[-1]
    assert f"head: record {head['sequence']}, {head['hash']}" in done.stdout
    assert document(foveal("audit", "verify", str(folder / "trail"), "--json"))["head"]["hash"] == head["hash"]


def test_a_changed_record_is_exit_code_1_and_is_named(folder: Path, tmp_path: Path) -> None:
    changed = copied(folder, tmp_path / "t", lambda lines: [*lines[:3], lines[3].replace(b'"graded"', b'"gradee"'), *lines[4:]])
    done = foveal("audit", "verify", str(changed))
    assert done.returncode == 1
    assert "record 4 is wrong" in one_line(done.stderr)
    told = document(foveal("audit", "verify", str(changed), "--json"))
    assert (told["whole"], told["records"]) == (False, 3)


def test_records_taken_from_the_end_are_found_by_a_head_that_was_noted(folder: Path, tmp_path: Path) -> None:
    noted = list(read_trail(folder / "trail"))[-1]["hash"]
    cut = copied(folder, tmp_path / "t", lambda lines: lines[:-2])
    assert foveal("audit", "verify", str(cut)).returncode == 0, "the chain alone can't tell"
    assert foveal("audit", "verify", str(folder / "trail"), "--head", noted).returncode == 0
    done = foveal("audit", "verify", str(cut), "--head", noted)
    assert done.returncode == 1
    assert "taken away" in one_line(done.stderr)
    assert foveal("audit", "verify", str(cut), "--head", "5f1c").returncode == 2


def test_a_folder_without_a_trail_is_exit_code_2(tmp_path: Path) -> None:
    assert foveal("audit", "verify", str(tmp_path)).returncode == 2
    assert foveal("audit", "verify", str(tmp_path / "nowhere")).returncode == 2


def test_records_are_exported_as_they_are_and_as_audit_events(folder: Path, tmp_path: Path) -> None:
    records = list(read_trail(folder / "trail"))
    done = foveal("audit", "export", str(folder / "trail"))
    assert [json.loads(line) for line in done.stdout.splitlines()] == records
    out = tmp_path / "events.ndjson"
    done = foveal("audit", "export", str(folder / "trail"), "--format", "fhir", "--out", str(out), "--json")
    assert document(done)["records"] == len(records)
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert [event["recorded"] for event in events] == [record["time"] for record in records]
    assert {event["resourceType"] for event in events} == {"AuditEvent"}
    assert document(foveal("audit", "export", str(folder / "trail"), "--json")) == records


def replayed(folder: Path, trail: Path, bundle: Path) -> tuple[Done, Any]:
    done = foveal("audit", "replay", str(trail), str(folder / "photographs"), "--bundle", str(bundle), "--json")
    return done, document(done)


def test_a_replay_finds_no_difference_and_says_what_it_could_not_compute(folder: Path, bundle_path: Path) -> None:
    done, found = replayed(folder, folder / "trail", bundle_path)
    assert (done.returncode, found["differences"]) == (0, [])
    assert (found["answers"], found["replayed"], found["not_alone"], len(found["not_found"])) == (7, 5, 1, 1)
    assert found["without_record"] == []
    text = foveal("audit", "replay", str(folder / "trail"), str(folder / "photographs"), "--bundle", str(bundle_path)).stdout
    assert "differences                   none" in text


def test_a_photograph_without_a_record_is_named(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jpg").write_bytes(photograph(30))
    done = foveal("audit", "replay", str(folder / "trail"), str(tmp_path / "other.jpg"), "--bundle", str(bundle_path))
    assert done.returncode == 0
    assert f"without a record: {tmp_path / 'other.jpg'}" in done.stdout


@pytest.mark.parametrize(
    ("field", "value"), [("icdr", 4), ("probability", 0.5), ("referral", "not_referable"), ("verdict", "ungradable")]
)
def test_a_replay_finds_what_a_forged_record_says(
    folder: Path, bundle_path: Path, tmp_path: Path, field: str, value: object
) -> None:
    """Sealed again from there on, so that the chain is whole."""

    def forge(lines: list[bytes]) -> list[bytes]:
        forged, previous = [], FIRST
        for line in lines:
            record = json.loads(line)
            sequence = record.pop("sequence")
            del record["previous"], record["hash"]
            if sequence == 3:
                assert record[field] != value
                record[field] = value
            line, previous = seal(record, sequence, previous)
            forged.append(line)
        return forged

    done, found = replayed(folder, copied(folder, tmp_path / "t", forge), bundle_path)
    assert done.returncode == 1
    assert (3, field) in {(each["sequence"], each["field"]) for each in found["differences"]}


def test_answers_of_another_bundle_are_counted_and_left_alone(folder: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", seed=5)
    done, found = replayed(folder, folder / "trail", other)
    assert (done.returncode, found["replayed"], found["other_bundle"]) == (0, 0, 7)


def test_a_withheld_answer_is_recorded_with_its_reason_and_computed_again(folder: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    add_trust(bundle, limit=1e-6)
    flags = ("--audit", str(tmp_path / "t"), "--abstain", "out-of-distribution")
    with RunningServer(bundle, *flags) as server, server.client() as client:
        client.grade([Study(image=photograph(1))])
    (record,) = [each for each in read_trail(tmp_path / "t") if each["call"] == "Grade"]
    assert (record["verdict"], record["reason"]) == ("abstained", "OUT_OF_DISTRIBUTION")
    assert "icdr" not in record
    done, found = replayed(folder, tmp_path / "t", bundle)
    assert (done.returncode, found["replayed"], found["differences"]) == (0, 1, [])
