"""Photographs that take too long to decode, at a real server: their worker is replaced soon, their neighbours are answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from bundles import photograph
from google.rpc import code_pb2
from servers import RunningServer

from attacks.bombs import BOMBS
from foveal_runtime.client import Client
from foveal_runtime.errors import PoisonError
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

pytest.importorskip("pydicom")
LIMIT = "[batch]\ndecode_cpu_s = 0.5"


def slow() -> bytes:
    """Within every limit, and two seconds of decoding."""
    return next(bomb for bomb in BOMBS if bomb.name == "png-palette-98-megapixels").data


def test_a_slow_photograph_alone_is_refused_for_good_and_its_neighbours_are_answered(bundle_path: Path, tmp_path: Path) -> None:
    good = [Study(id=str(i), image=photograph(i)) for i in range(4)]
    with RunningServer(bundle_path, config=LIMIT, folder=tmp_path) as server, server.client() as client:
        (worker,) = server.workers()
        results = client.grade([*good[:2], Study(id="bad", image=slow()), *good[2:]]).results
        assert {r.id for r in results if r.HasField("error")} == {"bad"}
        assert isinstance(error_of(results[2].error), PoisonError)
        replaced = server.workers()
        assert replaced != [worker]
        # Neither bytes behind its end nor another note make it another photograph.
        (again,) = client.grade([Study(image=slow() + b"other", note="another note")]).results
        assert isinstance(error_of(again.error), PoisonError)
        assert server.workers() == replaced
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_without_the_limit_it_holds_its_worker(bundle_path: Path, tmp_path: Path) -> None:
    """The twin."""
    with RunningServer(bundle_path, config="[batch]\ndecode_cpu_s = 60", folder=tmp_path) as server, server.client() as client:
        workers = server.workers()
        (result,) = client.grade([Study(image=slow())]).results
        assert not result.HasField("error") or not isinstance(error_of(result.error), PoisonError)
        assert server.workers() == workers


def p99_s(client: Client, seconds: float) -> float:
    """Of single studies of a caller that behaves."""
    taken: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        (result,) = client.grade([Study(image=photograph(len(taken) % 8), note=f"macula {began}")]).results
        assert not result.HasField("error"), result
        taken.append(time.monotonic() - began)
    return sorted(taken)[int(0.99 * (len(taken) - 1))]


@pytest.mark.slow  # measures time, which a busy machine has none of
def test_a_caller_that_behaves_waits_little_longer_under_refused_bombs(bundle_path: Path) -> None:
    names = ("jpeg-5000-scans", "png-30000-empty-idat", "tiff-17-directories", "jpeg-exif-of-5000-entries")
    bombs = [bomb.data for bomb in BOMBS if bomb.name in names]
    codes: set[str] = set()
    stop = threading.Event()
    with RunningServer(bundle_path) as server, server.client() as client, server.client() as hostile:
        workers = server.workers()
        p99_s(client, 1)
        calm = p99_s(client, 5)

        def attack() -> None:
            while not stop.wait(0.02):
                codes.update(code_pb2.Code.Name(r.error.code) for r in hostile.grade([Study(image=b) for b in bombs]).results)

        attacker = threading.Thread(target=attack)
        attacker.start()
        try:
            under = p99_s(client, 5)
        finally:
            stop.set()
            attacker.join(30)
        assert codes == {"INVALID_ARGUMENT"}
        assert under <= 3 * max(calm, 0.02), f"{under:.3f} s under attack, {calm:.3f} s without"
        assert server.workers() == workers
        assert "Traceback" not in server.log
