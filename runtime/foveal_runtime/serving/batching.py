"""The queue of one bundle as its callers see it: admission, answers that were kept, self-tests, start and end.

Knows nothing of protobuf, ONNX or processes. `waiting` decides who is let in; `dispatch` hands batches to `pool`'s workers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.serving.cache import OutcomeCache
from foveal_runtime.serving.dispatch import Dispatcher
from foveal_runtime.serving.pool import Pool, WorkerLike
from foveal_runtime.serving.request import Answer, BatchLimits, QueueLimits, Request
from foveal_runtime.serving.strikes import CallerStrikes, Strikes, poison_error
from foveal_runtime.serving.turns import NOBODY, Share
from foveal_runtime.serving.waiting import Job, WaitingLine

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Outcome
    from foveal_runtime.engine.selftest import SelfTestReport


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
        self._cache = OutcomeCache(cache_entries)
        self._failed_test = False
        self._strikes = Strikes()
        self._callers = CallerStrikes(batch.lost_per_caller, batch.lost_per_caller_s)
        self._line = WaitingLine(queue, batch)
        self._pool = Pool(start_worker, workers)
        self._dispatcher = Dispatcher(
            self._line, self._pool, self._strikes, self._callers, lanes=lanes, ahead=ahead, batch=batch
        )
        self._dispatcher.on_answer = self._answered
        self._closing = False

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers. When this returns, all of them are ready.

        Raises:
            FovealError: a worker could not start.
        """
        await self._pool.start()

    async def drain(self, timeout_s: float) -> None:
        """Wait until nothing waits or runs, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._dispatcher.idle.wait(), timeout_s)

    async def close(self) -> None:
        """End the workers; what still waits gets UNAVAILABLE."""
        self._closing = True
        ending = asyncio.create_task(self._pool.close())
        await self._dispatcher.close()
        await ending

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when a worker came or went."""
        self._pool.on_change = callback

    @property
    def started(self) -> bool:
        """Whether all the workers have been up once."""
        return self._pool.started

    @property
    def live_workers(self) -> int:
        """Workers that are up."""
        return len(self._pool.workers)

    @property
    def lost(self) -> dict[str, int]:
        """Workers that were lost since the start, by cause: `died` and `hung`."""
        return dict(self._pool.lost)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that are up."""
        return tuple(worker.pid for worker in self._pool.workers)

    @property
    def depth(self) -> int:
        """Studies that wait or run."""
        return len(self._line) + self._dispatcher.running

    @property
    def queued_bytes(self) -> int:
        """Of the studies that wait."""
        return self._line.size_bytes

    @property
    def decoding_bytes(self) -> int | None:
        """Memory for the photographs that the workers decode now; None where nobody counts it."""
        each = [worker.decoding_bytes for worker in self._pool.workers]
        known = [size for size in each if size is not None]
        return sum(known) if known else None

    @property
    def needs_keys(self) -> bool:
        """Whether studies are compared with those that ended a worker: `submit` then wants their `photograph_key`."""
        return bool(self._strikes)

    # --- admission ----------------------------------------------------------------------------------------------------

    def check(self, studies: int, deadline_s: float | None, share: Share = NOBODY) -> None:
        """Refuse before anything is received or read of a request that would not be let in: refusing has to be cheap.

        Raises:
            OverloadedError: the queue has no room.
            DeadlineError: the queue can't be worked off before the deadline.
        """
        self._line.check(
            studies,
            share=share,
            deadline_s=deadline_s,
            running=self._dispatcher.running,
            lanes=self._dispatcher.live_lanes,
        )

    def submit(
        self, requests: Sequence[Request], *, deadline_s: float | None = None, share: Share = NOBODY
    ) -> list[asyncio.Future[Answer]]:
        """Admit studies, all or none of them.

        Args:
            requests: at least one.
            deadline_s: seconds the caller will wait; None is for ever.
            share: whose they are.

        Returns:
            A future a study, each of which will be resolved; cancel one to drop the study.

        Raises:
            OverloadedError: the queue has no room, or this caller's photographs have ended too many workers lately.
            DeadlineError: the queue can't be worked off before the deadline.
            UnavailableError: no worker comes up.
        """
        if self._closing:
            raise UnavailableError("the server is shutting down; send again")
        if self._pool.failure and not self.live_workers:
            raise UnavailableError(f"no worker can be started: {self._pool.failure}")
        refusal = self._callers.refusal(share.name)
        if refusal is not None and any(request.study.image for request in requests):
            raise refusal
        loop = asyncio.get_running_loop()
        now = loop.time()
        futures: list[asyncio.Future[Answer]] = []
        jobs: list[Job] = []
        for request in requests:
            future: asyncio.Future[Answer] = loop.create_future()
            futures.append(future)
            cache_key = request.key() if self._cache.enabled else b""
            cached = self._cache.get(cache_key)
            photograph = key = b""
            if cached is None and self._strikes:
                photograph = request.photograph_key()
                key = request.strike_key(photograph)
            if cached is not None:
                future.set_result(Answer(outcome=cached, queue_ms=0.0, cached=True))
            elif self._strikes.refused(key) or self._strikes.refused(photograph):
                future.set_exception(poison_error())
            else:
                deadline = None if deadline_s is None else now + deadline_s
                job = Job(
                    request=request,
                    cache_key=cache_key,
                    key=key,
                    size_bytes=request.size_bytes,
                    deadline=deadline,
                    enqueued=now,
                    future=future,
                    share=share,
                )
                if self._strikes.suspect(key):
                    job.group = object()  # of which it is the only member
                jobs.append(job)
        try:
            self._line.admit(jobs, deadline_s=deadline_s, running=self._dispatcher.running, lanes=self._dispatcher.live_lanes)
        except FovealError:
            for future in futures:
                future.cancel()
            raise
        if jobs:
            self._dispatcher.arrived()
        return futures

    def _answered(self, job: Job, answer: Outcome | FovealError, queue_s: float) -> None:
        if isinstance(answer, FovealError):
            if not job.future.done():
                job.future.set_exception(answer)
            return
        if job.cache_key:
            self._cache.put(job.cache_key, answer)
        if not job.future.done():
            job.future.set_result(Answer(outcome=answer, queue_ms=queue_s * 1e3))

    # --- self-tests ---------------------------------------------------------------------------------------------------

    async def self_test(self, *, timeout_s: float = 300.0) -> SelfTestReport:
        """Replay the golden studies in every worker that is up, between batches and after what waits; the worst report.

        Answers that were kept are forgotten when one fails: nobody knows since when it computes otherwise.

        Raises:
            UnavailableError: no worker is up, or one was lost.
        """
        tests = self._dispatcher.test_all()
        if not tests:
            raise UnavailableError("no worker is up; ask again later")
        try:
            async with asyncio.timeout(timeout_s):
                reports = await asyncio.gather(*tests)
        except TimeoutError:
            raise UnavailableError(f"no worker was free for a self-test within {timeout_s:g} s; ask again later") from None
        finally:
            for test in tests:
                test.cancel()  # those that nobody waits for any more are not run
        worst = min(reports, key=lambda report: (report.passed, report.min_cosine))
        if not worst.passed or self._failed_test:
            self._cache.clear()
        self._failed_test = not worst.passed
        return worst
