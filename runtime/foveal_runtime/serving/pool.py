"""The worker processes of one bundle: start, replace when lost, close. Knows no studies and no queue.

A worker that can't be started is tried again for ever, with pauses. The event loop waits for no process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from foveal_runtime.errors import FovealError
from foveal_runtime.lifecycle import Event, tell

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.study.study import Study

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_RESTART_PAUSES_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pause before each further try to start a worker that does not come up; then from the first again."""


class WorkerLike(Protocol):
    """What is needed of a worker process."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""

    @property
    def decoding_bytes(self) -> int | None:
        """Memory for the photographs that it decodes now; None where nobody counts it."""

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on this loop when the process ends, however it does."""

    async def run(
        self, studies: Sequence[Study], asks: Sequence[Ask], *, timeout_s: float, on_start: Callable[[], None]
    ) -> list[Outcome | FovealError]:
        """Run a batch, tell when it begins; raises WorkerLost."""

    async def self_test(self, *, timeout_s: float) -> SelfTestReport:
        """Replay the golden studies; raises WorkerLost."""

    def close(self) -> None:
        """End it; may take a while, so not on the event loop."""


class Pool:
    """As many workers as were asked for, as far as the machine lets them live."""

    def __init__(self, start_worker: Callable[[], Awaitable[WorkerLike]], workers: int) -> None:
        """Args:
        start_worker: starts a worker process and waits until it is ready.
        workers: how many to keep.
        """
        self._start_worker = start_worker
        self._places: list[WorkerLike | None] = [None] * workers
        self._replacing: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self.started = False
        """Whether all the workers have been up once."""
        self.failure = ""
        """Why the last start failed, while none has succeeded since."""
        self.lost = {"died": 0, "hung": 0}
        """Workers that were lost since the start, by cause."""
        self.on_ready: Callable[[WorkerLike], None] = lambda worker: None
        """Called with every worker that is up."""
        self.on_exit: Callable[[WorkerLike], None] = lambda worker: None
        """Called when a worker's process has ended, however it did."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a worker came or went, or could not come."""
        self.on_hopeless: Callable[[], None] = lambda: None
        """Called when no worker is up and none could be started in a whole round of tries."""

    @property
    def workers(self) -> tuple[WorkerLike, ...]:
        """Those that are up."""
        return tuple(worker for worker in self._places if worker is not None)

    async def start(self) -> None:
        """Fill all places. When this returns, all the workers are ready.

        Raises:
            FovealError: a worker could not start; none is left running then.
        """
        try:
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(_awaited(self._start_worker())) for _ in self._places]
        except BaseExceptionGroup as failed:
            for task in starting:
                if task.done() and not task.cancelled() and task.exception() is None:
                    await asyncio.to_thread(task.result().close)
            raise failed.exceptions[0] from None
        self.started = True
        for place, task in enumerate(starting):
            self._put(place, task.result())

    def lose(self, worker: WorkerLike, *, hung: bool) -> None:
        """End a worker that died or hangs, and start another in its place. Does nothing when that was done before."""
        if worker not in self._places:
            return
        cause = "hung" if hung else "died"
        tell(Event.WORKER_LOST, f"worker lost ({cause})", level=logging.WARNING, cause=cause)
        self.lost[cause] += 1
        place = self._places.index(worker)
        self._places[place] = None
        self._keep(self._ending, asyncio.to_thread(worker.close))
        self._keep(self._replacing, self._replace(place))
        self.on_change()

    async def close(self) -> None:
        """End all the workers, those that are just being started as well."""
        for task in self._replacing:
            task.cancel()
        workers, self._places = self.workers, [None] * len(self._places)
        for worker in workers:
            self._keep(self._ending, asyncio.to_thread(worker.close))
        await asyncio.gather(*self._replacing, *self._ending, return_exceptions=True)

    async def _replace(self, place: int) -> None:
        for pause_s in itertools.cycle(_RESTART_PAUSES_S):
            await asyncio.sleep(pause_s)
            try:
                worker = await self._start_worker()
            except Exception as error:  # whatever it is, the place must not stay empty for ever
                # OSError: no descriptor, process or memory is left just now.
                known = isinstance(error, FovealError | OSError)
                self.failure = str(error) if known else type(error).__name__
                log.error("worker can't be started: %s", self.failure, exc_info=not known)
                self.on_change()
                if pause_s == _RESTART_PAUSES_S[-1] and not self.workers:
                    self.on_hopeless()
                continue
            self.failure = ""
            self._put(place, worker)
            tell(Event.WORKER_RESTARTED, "another worker is up in its place")
            return

    def _put(self, place: int, worker: WorkerLike) -> None:
        self._places[place] = worker
        worker.on_exit(lambda: self.on_exit(worker))
        self.on_ready(worker)
        self.on_change()

    def _keep(self, tasks: set[asyncio.Task[None]], work: Awaitable[None]) -> None:
        task = asyncio.create_task(_awaited(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _awaited(work: Awaitable[_T]) -> _T:
    return await work
