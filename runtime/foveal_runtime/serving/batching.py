"""Form batches while the workers are busy, keep the workers up, and see that every waiting future is resolved.

Knows nothing of protobuf or ONNX. `waiting` decides who is let in; a batch that killed its worker is run again in halves, and a
study that did so twice is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.serving.cache import OutcomeCache
from foveal_runtime.serving.request import Answer, BatchLimits, QueueLimits, Request
from foveal_runtime.serving.strikes import Strikes, poison_error
from foveal_runtime.serving.supervisor import WorkerLost
from foveal_runtime.serving.waiting import Job, WaitingLine, refuse

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.study.study import Study

log = logging.getLogger(__name__)

_TEST_WAITS_S = 5.0
"""A self-test lets what waits go first, this long."""
_RESTART_PAUSES_S = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pause before each further try to start a worker that does not come up."""


class WorkerLike(Protocol):
    """What the batcher needs of a worker process."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""

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


@dataclass(eq=False, slots=True)
class _SelfTest:
    """A replay that a worker was asked for."""

    asked: float
    """On the event loop's clock."""
    future: asyncio.Future[SelfTestReport]


@dataclass(eq=False, slots=True)
class _Slot:
    """A place for a worker; the worker in it may be replaced, once all its lanes have noticed that it was lost."""

    worker: WorkerLike | None = None
    lanes: list[asyncio.Task[None]] = field(default_factory=list)
    self_tests: deque[_SelfTest] = field(default_factory=deque)
    replacing: asyncio.Lock = field(default_factory=asyncio.Lock)
    busy: int = 0
    """Lanes that run a batch."""
    alone: bool = False
    """A batch runs that may have no other beside it."""
    lost: list[Job] = field(default_factory=list)
    """What the lost worker ran, in lanes that have noticed."""
    hung: bool = False
    """The lost worker was ended because one batch hung: the others are not to blame."""


class Batcher:
    """The queue of one bundle and the workers that empty it. Lives on one event loop."""

    def __init__(
        self,
        start_worker: Callable[[], Awaitable[WorkerLike]],
        *,
        workers: int,
        lanes: int = 1,
        ahead: int = 0,
        batch: BatchLimits,
        queue: QueueLimits,
        cache_entries: int = 0,
    ) -> None:
        """Args:
        start_worker: starts a worker process and waits until it is ready.
        workers: how many to keep.
        lanes: batches that a worker runs at once.
        ahead: batches handed to a worker before a lane is free, so that none waits for the event loop.
        batch: limits of one batch.
        queue: limits of what waits.
        cache_entries: outcomes of equal studies kept; 0 keeps none.
        """
        self._start_worker = start_worker
        self._slots = [_Slot() for _ in range(workers)]
        self._lanes = lanes
        self._ahead = ahead
        self._batch = batch
        self._cache = OutcomeCache(cache_entries)
        self._failed_test = False
        self._strikes = Strikes()
        self._line = WaitingLine(queue, batch)
        self._running = 0
        self.lost = {"died": 0, "hung": 0}
        """Workers that were lost since the start, by cause."""
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._ending: set[asyncio.Task[None]] = set()
        self.started = False
        """Whether all the workers have been up once."""
        self._start_failure: FovealError | OSError | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when a worker came or went."""

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers. When this returns, all of them are ready.

        Raises:
            FovealError: a worker could not start.
        """
        try:
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(_started(self._start_worker())) for _ in self._slots]
        except BaseExceptionGroup as failed:
            for task in starting:
                if task.done() and not task.cancelled() and task.exception() is None:
                    await asyncio.to_thread(task.result().close)
            raise failed.exceptions[0] from None
        for slot, task in zip(self._slots, starting, strict=True):
            self._put(slot, task.result())
            slot.lanes = [asyncio.create_task(self._serve(slot)) for _ in range(self._lanes + self._ahead)]
        self.started = True

    async def drain(self, timeout_s: float) -> None:
        """Wait until nothing waits or runs, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def close(self) -> None:
        """End the workers; what still waits gets UNAVAILABLE."""
        self._closing = True
        tasks = [task for slot in self._slots for task in slot.lanes]
        for slot in self._slots:
            # Killing a busy worker is what makes its task return.
            worker, slot.worker = slot.worker, None
            if worker is not None:
                await asyncio.to_thread(worker.close)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._ending, return_exceptions=True)
        self._refuse_all(UnavailableError("the server is shutting down; send again"))

    @property
    def live_workers(self) -> int:
        """Workers that are up."""
        return sum(slot.worker is not None for slot in self._slots)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are up."""
        return tuple(slot.worker.pid for slot in self._slots if slot.worker is not None)

    @property
    def _live_lanes(self) -> int:
        return self.live_workers * self._lanes

    @property
    def depth(self) -> int:
        """Studies that wait or run."""
        return len(self._line) + self._running

    @property
    def queued_bytes(self) -> int:
        """Of the studies that wait."""
        return self._line.size_bytes

    # --- admission ----------------------------------------------------------------------------------------------------

    def check_time(self, studies: int, deadline_s: float | None) -> None:
        """Refuse before anything is read of a request that could only come too late: refusing has to be cheap.

        Raises:
            DeadlineError: the queue can't be worked off before the deadline.
        """
        self._line.check_time(studies, deadline_s=deadline_s, running=self._running, lanes=self._live_lanes)

    def submit(self, requests: Sequence[Request], *, deadline_s: float | None = None) -> list[asyncio.Future[Answer]]:
        """Admit studies, all or none of them.

        Args:
            requests: at least one.
            deadline_s: seconds the caller will wait; None is for ever.

        Returns:
            A future a study, each of which will be resolved; cancel one to drop the study.

        Raises:
            OverloadedError: the queue has no room.
            DeadlineError: the queue can't be worked off before the deadline.
            UnavailableError: no worker comes up.
        """
        if self._closing:
            raise UnavailableError("the server is shutting down; send again")
        if self._start_failure is not None and not self.live_workers:
            raise UnavailableError(f"no worker can be started: {self._start_failure}")
        loop = asyncio.get_running_loop()
        now = loop.time()
        futures: list[asyncio.Future[Answer]] = []
        jobs: list[Job] = []
        keep_keys = self._cache.enabled or bool(self._strikes)
        for request in requests:
            future: asyncio.Future[Answer] = loop.create_future()
            futures.append(future)
            key = request.key() if keep_keys else b""
            cached = self._cache.get(key)
            if cached is not None:
                future.set_result(Answer(outcome=cached, queue_ms=0.0, cached=True))
            elif self._strikes.refused(key):
                future.set_exception(poison_error())
            else:
                deadline = None if deadline_s is None else now + deadline_s
                job = Job(
                    request=request, key=key, size_bytes=request.size_bytes, deadline=deadline, enqueued=now, future=future
                )
                if self._strikes.suspect(key):
                    job.group = object()  # of which it is the only member
                jobs.append(job)
        try:
            self._line.admit(jobs, deadline_s=deadline_s, running=self._running, lanes=self._live_lanes)
        except FovealError:
            for future in futures:
                future.cancel()
            raise
        if jobs:
            self._idle.clear()
            self._arrived.set()
        return futures

    # --- work ---------------------------------------------------------------------------------------------------------

    async def self_test(self, *, timeout_s: float = 300.0) -> SelfTestReport:
        """Replay the golden studies in every worker that is up, between batches and after what waits; the worst report.

        Answers that were kept are forgotten when one fails: nobody knows since when it computes otherwise.

        Raises:
            UnavailableError: no worker is up, or one was lost.
        """
        loop = asyncio.get_running_loop()
        slots = [slot for slot in self._slots if slot.worker is not None]
        if not slots:
            raise UnavailableError("no worker is up; ask again later")
        tests = [_SelfTest(loop.time(), loop.create_future()) for _ in slots]
        for slot, test in zip(slots, tests, strict=True):
            slot.self_tests.append(test)
        self._arrived.set()
        try:
            async with asyncio.timeout(timeout_s):
                reports = await asyncio.gather(*(test.future for test in tests))
        except TimeoutError:
            raise UnavailableError(f"no worker was free for a self-test within {timeout_s:g} s; ask again later") from None
        finally:
            for test in tests:
                test.future.cancel()  # those that nobody waits for any more are not run
        worst = min(reports, key=lambda report: (report.passed, report.min_cosine))
        if not worst.passed or self._failed_test:
            self._cache.clear()
        self._failed_test = not worst.passed
        return worst

    def _put(self, slot: _Slot, worker: WorkerLike) -> None:
        slot.worker = worker
        # Wakes the slots, so that an idle worker's death is noticed without a request.
        worker.on_exit(self._arrived.set)

    async def _serve(self, slot: _Slot) -> None:
        """Keep one lane of a worker at work."""
        while not self._closing:
            if slot.worker is None and slot.busy:
                await self._something_happens()  # the other lanes have yet to notice
                continue
            async with slot.replacing:
                if slot.worker is None and not await self._replace(slot):
                    continue
            worker = slot.worker
            if worker is None:
                continue
            if not worker.alive:
                self._lost(slot, worker, [], WorkerLost("a worker process died and was replaced; send again", hung=False))
                continue
            test = self._due_test(slot)
            if test is not None:
                await self._self_test(slot, worker, test.future)
                continue
            batch = self._next_batch(slot)
            if not batch:
                if not self._running:
                    self._idle.set()
                await self._something_happens()
                if self._batch.max_wait_ms > 0:
                    await asyncio.sleep(self._batch.max_wait_ms / 1e3)
                continue
            await self._run(slot, worker, batch)

    async def _something_happens(self) -> None:
        """Wait for studies, for the end of a batch that ran alone, or for the loss of a worker."""
        self._arrived.clear()
        await self._arrived.wait()

    def _due_test(self, slot: _Slot) -> _SelfTest | None:
        """A self-test whose turn it is: patients go first, for a while."""
        while slot.self_tests and slot.self_tests[0].future.done():
            slot.self_tests.popleft()
        if not slot.self_tests:
            return None
        waited_s = asyncio.get_running_loop().time() - slot.self_tests[0].asked
        return slot.self_tests.popleft() if not len(self._line) or waited_s >= _TEST_WAITS_S else None

    def _next_batch(self, slot: _Slot) -> list[Job]:
        if slot.alone or (slot.busy and self._line.alone_next):
            return []
        if any(other.worker is not None and not other.alone and other.busy < slot.busy for other in self._slots):
            return []  # a worker with less to do takes it
        free = self._live_lanes - sum(other.busy for other in self._slots)
        return self._line.take(asyncio.get_running_loop().time(), lanes=free)

    async def _run(self, slot: _Slot, worker: WorkerLike, batch: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()

        def begun() -> None:
            nonlocal started
            started = loop.time()

        alone = batch[0].group is not None
        self._running += len(batch)
        slot.busy += 1
        slot.alone = alone
        lost: WorkerLost | None = None
        answered: list[tuple[Job, Outcome | FovealError]] = []
        try:
            answers = await worker.run(
                [job.request.study for job in batch],
                [job.request.ask for job in batch],
                timeout_s=self._batch.worker_timeout_s,
                on_start=begun,
            )
            answered = list(zip(batch, answers, strict=True))
        except WorkerLost as error:
            lost = error
        except Exception:  # an answer that can't be read: the worker is replaced, its callers are told
            log.exception("a worker's answer can't be read")
            lost = WorkerLost("a worker answered nonsense and was replaced; send again", hung=False)
        except BaseException:
            # The batcher is closing: nobody may wait for ever.
            refuse(batch, UnavailableError("the server is shutting down; send again"))
            raise
        finally:
            self._running -= len(batch)
            slot.busy -= 1
            slot.alone = False
        if alone or self._line.alone_next:
            self._arrived.set()
        if lost is not None:
            self._lost(slot, worker, batch, lost)
            return
        self._line.took(len(batch), loop.time() - started)
        for job, answer in answered:
            self._strikes.forgive(job.key)
            if isinstance(answer, FovealError):
                if not job.future.done():
                    job.future.set_exception(answer)
                continue
            if job.key:
                self._cache.put(job.key, answer)
            if not job.future.done():
                job.future.set_result(Answer(outcome=answer, queue_ms=(started - job.enqueued) * 1e3))

    async def _self_test(self, slot: _Slot, worker: WorkerLike, future: asyncio.Future[SelfTestReport]) -> None:
        try:
            report = await worker.self_test(timeout_s=max(self._batch.worker_timeout_s, 120.0))
            if not future.done():
                future.set_result(report)
        except FovealError as error:
            if not future.done():
                future.set_exception(error)
            if isinstance(error, WorkerLost):
                self._lost(slot, worker, [], error)

    # --- loss ---------------------------------------------------------------------------------------------------------

    def _lost(self, slot: _Slot, worker: WorkerLike, batch: list[Job], lost: WorkerLost) -> None:
        """One lane has noticed. Once all have, what they ran is judged as one batch, unless it is known which of them hung."""
        if slot.worker is worker:
            log.warning("worker lost (%s) with a batch of %d", "hung" if lost.hung else "died", len(batch))
            self.lost["hung" if lost.hung else "died"] += 1
            slot.worker, slot.hung = None, lost.hung
            self._end(worker)
            self.on_change()
        if lost.hung:
            self._blame(batch, lost)
        else:
            slot.lost += batch
        if slot.busy:
            return
        jobs, slot.lost = slot.lost, []
        if slot.hung:
            self._line.put_back(jobs)
        else:
            self._blame(jobs, lost)
        slot.hung = False
        self._arrived.set()

    def _end(self, worker: WorkerLike) -> None:
        """Close a worker in a thread: the event loop waits for no process."""
        ending = asyncio.create_task(asyncio.to_thread(worker.close))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _blame(self, batch: list[Job], lost: WorkerLost) -> None:
        for job in batch:
            job.key = job.key or job.request.key()
        self._strikes.lost([job.key for job in batch])
        alone = len(batch) == 1
        if alone and self._strikes.refused(batch[0].key):
            refuse(batch, poison_error())
        elif alone or lost.hung or self._closing:
            # After a hang the callers have waited long enough; they are told at once and may send again.
            refuse(batch, lost)
        elif batch:
            middle = len(batch) // 2
            for half in (batch[middle:], batch[:middle]):
                group = object()
                for job in half:
                    job.group = group
                self._line.put_back(half)

    async def _replace(self, slot: _Slot) -> bool:
        for pause_s in _RESTART_PAUSES_S:
            await asyncio.sleep(pause_s)
            try:
                self._put(slot, await self._start_worker())
            except (FovealError, OSError) as error:
                # OSError: no descriptor, process or memory is left just now.
                log.error("worker can't be started: %s", error)
                self._start_failure = error
                self.on_change()
                continue
            self._start_failure = None
            self.on_change()
            return True
        if not self.live_workers:
            assert self._start_failure is not None
            self._refuse_all(UnavailableError(f"no worker can be started: {self._start_failure}"))
        return False

    def _refuse_all(self, error: FovealError) -> None:
        self._line.clear(error)
        for slot in self._slots:
            while slot.self_tests:
                future = slot.self_tests.popleft().future
                if not future.done():
                    future.set_exception(error)


async def _started(starting: Awaitable[WorkerLike]) -> WorkerLike:
    return await starting
