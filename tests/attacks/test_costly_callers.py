"""A caller whose photographs each end a worker, no two of them alike: it is refused after three, and nobody else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from beside import from_elsewhere
from bundles import photograph
from pictures import chunk
from servers import RunningServer

from attacks.bombs import png
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError, OverloadedError, PoisonError
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

COSTLY = 3
LIMIT = f"[batch]\ndecode_cpu_s = 0.3\nlost_per_caller = {COSTLY}"
WITHOUT = "[batch]\ndecode_cpu_s = 0.3\nlost_per_caller = 0"


@pytest.fixture(scope="module")
def slow() -> list[bytes]:
    """Within every limit, two seconds of decoding each, and each with other pixels."""
    return [png(9_900, 9_900, kind=3, before=chunk(b"tRNS", bytes([i + 1]) * 256)) for i in range(COSTLY + 2)]


def ask(client: Client, image: bytes) -> FovealError | None:
    """The error of one photograph."""
    try:
        (result,) = client.grade([Study(image=image)]).results
    except FovealError as error:
        return error
    return error_of(result.error) if result.HasField("error") else None


def attack(server: RunningServer, images: list[bytes]) -> list[FovealError | None]:
    """What a caller of another machine is answered."""
    with from_elsewhere(server.address) as address, Client(address, ClientOptions(timeout_s=30, retry_s=0)) as hostile:
        return [ask(hostile, image) for image in images]


def test_a_caller_whose_photographs_cost_three_workers_is_refused_and_another_is_answered(
    bundle_path: Path, tmp_path: Path, slow: list[bytes]
) -> None:
    with RunningServer(bundle_path, config=LIMIT, folder=tmp_path) as server, server.client() as client:
        errors = attack(server, [*slow, photograph(1)])
        assert [type(error) for error in errors] == [PoisonError] * COSTLY + [OverloadedError] * 3
        refused = errors[-1]
        assert isinstance(refused, OverloadedError)
        assert 1 < refused.retry_after_s <= 60
        assert ask(client, photograph(1)) is None
        assert server.log.count("worker lost") == COSTLY
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_without_the_limit_every_one_of_them_costs_a_worker(bundle_path: Path, tmp_path: Path, slow: list[bytes]) -> None:
    """The twin."""
    with RunningServer(bundle_path, config=WITHOUT, folder=tmp_path) as server:
        assert [type(error) for error in attack(server, slow)] == [PoisonError] * len(slow)
        assert server.log.count("worker lost") == len(slow)
