"""Every bomb to a real server: a typed answer after five seconds of its time at most, and the next photograph is answered.

Those that are refused cost no worker, and those that are decoded one at most, where they take longer than they may.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import RunningServer

from attacks.bombs import BOMBS, Bomb
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError, InputError, PoisonError
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

pytest.importorskip("pydicom")
LIMIT_S = 5.0
"""Of the CPU time of server and worker, which is that of an idle machine on a busy one too."""
REFUSED = [bomb for bomb in BOMBS if bomb.refused]
A_FEW = {
    "jpeg-5000-scans", "jpeg-exif-of-5000-entries", "png-30000-empty-idat", "png-60000-square", "tiff-17-directories",
    "webp-900-frames", "dicom-40-sequences-inside-each-other", "dicom-a-million-delimiters",
}  # fmt: skip
"""Every format and most of the limits, in a second or less each; tests/attacks/test_bombs.py has them all, without a server."""
SURVIVED = [bomb for bomb in BOMBS if not bomb.refused]


@pytest.fixture(scope="module")
def server(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    # All bombs come from one caller.
    config = "cache_entries = 0\n[batch]\nlost_per_caller = 0"
    with RunningServer(bundle_path, config=config, folder=tmp_path_factory.mktemp("server")) as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.address, ClientOptions(timeout_s=60, retry_s=0)) as opened:
        yield opened


def ask(client: Client, image: bytes) -> FovealError | None:
    """The error of one photograph."""
    try:
        (result,) = client.grade([Study(image=image)]).results
    except FovealError as refused:
        return refused
    return error_of(result.error) if result.HasField("error") else None


def cpu_s(pids: list[int]) -> float:
    """Processor time that processes have used, those that are still there."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def check(server: RunningServer, client: Client, bomb: Bomb) -> tuple[FovealError | None, bool]:
    """Send one, and a photograph after it. Returns the bomb's error, and whether it cost its worker."""
    workers, data = server.workers(), bomb.data
    processes = [server.process.pid, *workers]
    before, began = cpu_s(processes), time.monotonic()
    error = ask(client, data)
    wall_s, used_s = time.monotonic() - began, cpu_s(processes) - before
    lost = server.workers() != workers
    cost = "its worker" if lost else f"{used_s:.2f} s of CPU"
    print(f"{bomb.name}: {type(error).__name__} after {wall_s:.2f} s, {cost}")  # noqa: T201
    assert used_s < LIMIT_S
    assert ask(client, photograph(len(bomb.name))) is None
    return error, lost


@pytest.mark.parametrize(
    "bomb", [pytest.param(bomb, id=bomb.name, marks=[] if bomb.name in A_FEW else pytest.mark.slow) for bomb in REFUSED]
)
def test_what_no_photograph_is_like_is_refused_and_the_next_is_answered(
    server: RunningServer, client: Client, bomb: Bomb
) -> None:
    error, lost = check(server, client, bomb)
    assert isinstance(error, InputError), error
    assert str(error)
    assert not lost


@pytest.mark.slow  # half a minute of decoding
@pytest.mark.parametrize("bomb", SURVIVED, ids=lambda bomb: bomb.name)
def test_what_may_be_decoded_is_answered_or_costs_one_worker_and_is_refused(
    server: RunningServer, client: Client, bomb: Bomb
) -> None:
    error, lost = check(server, client, bomb)
    assert error is None or isinstance(error, InputError), error
    if lost:
        assert isinstance(error, PoisonError)
        workers = server.workers()
        assert isinstance(ask(client, bomb.data), PoisonError), "it is known now"
        assert server.workers() == workers
