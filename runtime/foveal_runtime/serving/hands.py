"""What one worker has in hand: batches, self-tests, and what it ran when it was lost. Hands out nothing; see `dispatch`."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.errors import FovealError
    from foveal_runtime.serving.pool import WorkerLike
    from foveal_runtime.serving.waiting import Job


@dataclass(eq=False, slots=True)
class SelfTest:
    """A replay that a worker was asked for."""

    asked: float
    """On the event loop's clock."""
    future: asyncio.Future[SelfTestReport]


@dataclass(eq=False, slots=True)
class Hands:
    """What one worker has in hand."""

    worker: WorkerLike
    running: list[list[Job]] = field(default_factory=list)
    """Batches it was handed and has not answered."""
    ended: deque[float] = field(default_factory=deque)
    """When its last batches ended, one a lane, on the event loop's clock."""
    testing: bool = False
    self_tests: deque[SelfTest] = field(default_factory=deque)
    lost: list[list[Job]] = field(default_factory=list)
    """What it ran when it was lost, as far as that has come back."""
    hung: bool = False
    """It was ended because one batch hung: the others are not to blame."""

    @property
    def busy(self) -> int:
        """Batches and replays in work."""
        return len(self.running) + self.testing

    @property
    def alone(self) -> bool:
        """Whether it runs a batch that may have no other beside it."""
        return any(batch[0].group is not None for batch in self.running)

    def end_tests(self, error: FovealError) -> None:
        """Tell all who wait for a replay."""
        while self.self_tests:
            future = self.self_tests.popleft().future
            if not future.done():
                future.set_exception(error)
