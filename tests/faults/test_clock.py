"""A wall clock that jumps while the server works: NTP after months without a network, or somebody's hand."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from foveal_runtime.study.study import Study

HOUR_S = 3600
SHIM = Path(__file__).with_name("shift_clock.c")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that shifts a process's wall clock."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler (cc), or no Linux: a process's clock can't be shifted")
    library = tmp_path_factory.mktemp("shim") / "shift_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True, timeout=60)
    return library


def test_a_jump_of_the_wall_clock_loses_no_call_and_fires_no_timer(shim: Path, bundle_path: Path, tmp_path: Path) -> None:
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("q", 0))

    def jump_to(seconds: int) -> None:
        with shift.open("r+b") as file:
            file.write(struct.pack("q", seconds))

    image = photograph(width=1200, height=900)
    answered: list[str] = []
    stop = threading.Event()

    def load(server: RunningServer) -> None:
        with server.client(timeout_s=20) as client:
            turn = 0
            while not stop.is_set():
                turn += 1
                results = client.grade([Study(image=image, note=f"macula {turn} {i}") for i in range(6)]).results
                answered.extend(result.WhichOneof("outcome") or "neither" for result in results)

    env = {"LD_PRELOAD": str(shim), "SHIFT_CLOCK": str(shift)}
    with RunningServer(bundle_path, "--cache-entries", "0", env=env) as server, server.client(timeout_s=20) as client:
        worker = server.workers()
        callers = [threading.Thread(target=load, args=(server,)) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            for seconds in (HOUR_S, -HOUR_S, 400 * 24 * HOUR_S, 0):
                before = len(answered)
                jump_to(seconds)
                end = time.monotonic() + 20
                while len(answered) < before + 12:
                    assert time.monotonic() < end, "nothing is answered after the jump"
                    time.sleep(0.02)
                assert client.self_test().passed
                assert server.health() == "SERVING"
        finally:
            stop.set()
            for caller in callers:
                caller.join(30)
        assert not any(caller.is_alive() for caller in callers)
        assert set(answered) == {"grade"}
        assert server.workers() == worker, "a worker was taken for hanging"
        stamps = [
            datetime.fromisoformat(f"{day} {clock}") for day, clock in re.findall(r"^([\d-]+) ([\d:]+),", server.log, re.M)
        ]
        assert (max(stamps) - min(stamps)).days > 365, "the server's clock did not jump: nothing was tested"


def test_the_drain_after_sigterm_is_not_cut_short_by_a_jump(shim: Path, bundle_path: Path, tmp_path: Path) -> None:
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("q", 0))
    env = {"LD_PRELOAD": str(shim), "SHIFT_CLOCK": str(shift)}
    studies = (Study(id=str(i), image=photograph(width=1200, height=900), note="macula " * i) for i in range(40))
    with RunningServer(bundle_path, env=env) as server, server.client() as client:
        results = client.grade_stream(studies)
        first = next(results)
        server.process.terminate()
        with shift.open("r+b") as file:
            file.write(struct.pack("q", HOUR_S))
        assert len([first, *results]) == 40
        assert server.process.wait(20) == 0
