"""The host of a model: who shares a self-test."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from foveal_runtime.engine.selftest import SelfTestReport
from foveal_runtime.serving.host import ModelHost
from foveal_runtime.serving.spec import ModelSpec

PASSED = SelfTestReport(
    passed=True, studies=1, min_cosine=1.0, max_abs_embedding=0.0, max_abs_probability=0.0, icdr_flips=0, referable_flips=0,
    neighbour_dependence=0.0, failures=(),
)  # fmt: skip


class SlowTests:
    """A batcher whose self-tests wait for a gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = 0

    async def self_test(self) -> SelfTestReport:
        self.begun += 1
        await self.gate.wait()
        return PASSED


async def test_who_asks_for_a_self_test_as_the_last_who_waited_leaves_gets_one() -> None:
    host, batcher = ModelHost(ModelSpec(bundle=Path("unused"))), SlowTests()
    host._model = SimpleNamespace(batcher=batcher)  # type: ignore[assignment]
    leaves = asyncio.create_task(host.self_test())
    while not batcher.begun:
        await asyncio.sleep(0)
    leaves.cancel()
    asks = asyncio.create_task(host.self_test())
    while batcher.begun < 2 and not asks.done():
        await asyncio.sleep(0)
    batcher.gate.set()
    assert await asks is PASSED
    assert leaves.cancelled()
