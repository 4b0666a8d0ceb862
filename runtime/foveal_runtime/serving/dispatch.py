"""Hand batches to the freest worker, take their answers, and see that every study that was handed over is resolved.

One dispatcher serves all the workers of a bundle. It does something when something happens (a study came, a batch ended, a
worker came or went) and waits in no loop of its own. `waiting` says what comes next, `loss` what becomes of a lost batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.serving.hands import Hands, SelfTest
from foveal_runtime.serving.loss import Verdict, judge
from foveal_runtime.serving.strikes import CallerStrikes, Strikes, poison_error
from foveal_runtime.serving.supervisor import WorkerLost
from foveal_runtime.serving.waiting import Job, WaitingLine, refuse

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Outcome
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.serving.pool import Pool, WorkerLike
    from foveal_runtime.serving.request import BatchLimits

log = logging.getLogger(__name__)

_TEST_WAITS_S = 5.0
"""A self-test lets what waits go first, this long."""
_TEST_TIMEOUT_S = 120.0
"""A worker that is silent for longer over the golden studies hangs, where a batch's limit is no longer."""


class Dispatcher:
    """Between one waiting line and one pool of workers. Lives on one event loop."""

    def __init__(
        self,
        line: WaitingLine,
        pool: Pool,
        strikes: Strikes,
        callers: CallerStrikes,
        *,
        lanes: int,
        ahead: int,
        batch: BatchLimits,
    ) -> None:
        """Args:
        line: what waits.
        pool: the workers; its callbacks become this dispatcher's.
        strikes: which studies worker losses are remembered against.
        callers: and which callers.
        lanes: batches that a worker runs at once.
        ahead: batches handed to a worker before a lane is free, so that none waits for the event loop.
        batch: limits of one batch.
        """
        self._line = line
        self._pool = pool
        self._strikes, self._callers = strikes, callers
        self._lanes = lanes
        self._ahead = ahead
        self._batch = batch
        self._hands: dict[WorkerLike, Hands] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.idle = asyncio.Event()
        """Set while nothing waits or runs."""
        self.idle.set()
        self.on_answer: Callable[[Job, Outcome | FovealError, float], None] = lambda job, answer, queue_s: None
        """Called with every study that a worker answered, the answer, and the seconds that it waited."""
        pool.on_ready = self._ready
        pool.on_exit = self._exited
        pool.on_hopeless = self._hopeless

    @property
    def running(self) -> int:
        """Studies in work."""
        return sum(len(batch) for hands in self._hands.values() for batch in hands.running)

    @property
    def live_lanes(self) -> int:
        """Batches that can run at once."""
        return len(self._pool.workers) * self._lanes

    # --- what happens -------------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Studies have joined the line."""
        self.idle.clear()
        if self._batch.max_wait_ms <= 0:
            self._hand_out()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._batch.max_wait_ms / 1e3, self._waited)

    def test_all(self) -> list[asyncio.Future[SelfTestReport]]:
        """Ask every worker that is up for a replay; cancel a future to ask no more."""
        loop = asyncio.get_running_loop()
        tests = []
        for hands in self._hands.values():
            if hands.worker in self._pool.workers:
                hands.self_tests.append(SelfTest(loop.time(), loop.create_future()))
                tests.append(hands.self_tests[-1].future)
        self._hand_out()
        loop.call_later(_TEST_WAITS_S, self._hand_out)
        return tests

    async def close(self) -> None:
        """Resolve all that waits or runs; the pool has ended the workers, which is what makes running batches return."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.refuse_all(UnavailableError("the server is shutting down; send again"))

    def refuse_all(self, error: FovealError) -> None:
        """Tell everybody who waits."""
        self._line.clear(error)
        for hands in self._hands.values():
            hands.end_tests(error)
        self._rest()

    def _waited(self) -> None:
        self._timer = None
        self._hand_out()

    def _ready(self, worker: WorkerLike) -> None:
        self._hands[worker] = Hands(worker)
        self._hand_out()

    def _exited(self, worker: WorkerLike) -> None:
        """What it ran, if anything, tells of the loss itself."""
        hands = self._hands.get(worker)
        if hands is not None and not self._closing:
            self._lost(hands, None, WorkerLost("a worker process died and was replaced; send again", hung=False))

    def _hopeless(self) -> None:
        self.refuse_all(UnavailableError(f"no worker can be started: {self._pool.failure}"))

    # --- work ---------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give the freest worker a batch, until nothing waits or all have enough."""
        while not self._closing:
            able = [h for h in self._hands.values() if h.worker in self._pool.workers and h.worker.alive]
            tested = next((h for h in able if h.busy < self._most and self._due(h)), None)
            if tested is not None:
                self._start_test(tested)
                continue
            # While several callers are about, nothing is handed over ahead: who comes next would stand behind it.
            now = asyncio.get_running_loop().time()
            most = self._lanes if self._line.contended(now) else self._most
            free = [h for h in able if h.busy < most and not h.alone]
            if not len(self._line) or not free:
                break
            hands = min(free, key=lambda h: h.busy)
            if hands.busy and self._line.alone_next:
                break
            lanes = self.live_lanes - sum(h.busy for h in able)
            ahead = hands.busy >= self._lanes
            batch = self._line.take(now, lanes=lanes, before=len(hands.running[0]) if ahead and hands.running else 0)
            if batch:
                hands.running.append(batch)
                self._spawn(self._run(hands, batch))
        self._rest()

    @property
    def _most(self) -> int:
        return self._lanes + self._ahead

    def _rest(self) -> None:
        if not len(self._line) and not self.running:
            self.idle.set()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, hands: Hands, batch: list[Job]) -> None:
        loop = asyncio.get_running_loop()
        handed = started = loop.time()

        def begun() -> None:
            nonlocal started
            started = loop.time()

        try:
            answers = await hands.worker.run(
                [job.request.study for job in batch],
                [job.request.ask for job in batch],
                timeout_s=self._batch.worker_timeout_s,
                on_start=begun,
            )
            answered = list(zip(batch, answers, strict=True))
        except WorkerLost as lost:
            self._lost(hands, batch, lost)
            return
        except Exception:  # an answer that can't be read: the worker is replaced, its callers are told
            log.exception("a worker's answer can't be read")
            self._lost(hands, batch, WorkerLost("a worker answered nonsense and was replaced; send again", hung=False))
            return
        except BaseException:
            # The server is closing: nobody may wait for ever.
            hands.running.remove(batch)
            refuse(batch, UnavailableError("the server is shutting down; send again"))
            raise
        hands.running.remove(batch)
        # What lies between two batches is the lane's time too: predictions without it let more in than can be answered.
        free_since = hands.ended[0] if len(hands.ended) == self._lanes else handed
        if not batch[0].request.alone:
            self._line.took(len(batch), loop.time() - max(handed, free_since))
        hands.ended.append(loop.time())
        if len(hands.ended) > self._lanes:
            hands.ended.popleft()
        for job, answer in answered:
            self._strikes.forgive(job.key)
            self.on_answer(job, answer, started - job.enqueued)
        self._hand_out()

    # --- self-tests ---------------------------------------------------------------------------------------------------

    def _due(self, hands: Hands) -> bool:
        """Whether a self-test's turn has come: patients go first, for a while."""
        while hands.self_tests and hands.self_tests[0].future.done():
            hands.self_tests.popleft()
        if not hands.self_tests or hands.testing or hands.alone:
            return False
        waited_s = asyncio.get_running_loop().time() - hands.self_tests[0].asked
        return not len(self._line) or waited_s >= _TEST_WAITS_S

    def _start_test(self, hands: Hands) -> None:
        hands.testing = True
        self._spawn(self._test(hands, hands.self_tests.popleft().future))

    async def _test(self, hands: Hands, future: asyncio.Future[SelfTestReport]) -> None:
        try:
            report = await hands.worker.self_test(timeout_s=max(self._batch.worker_timeout_s, _TEST_TIMEOUT_S))
            if not future.done():
                future.set_result(report)
        except FovealError as error:
            if not future.done():
                future.set_exception(error)
            if isinstance(error, WorkerLost):
                self._lost(hands, None, error)
        finally:
            hands.testing = False
        self._hand_out()

    # --- loss ---------------------------------------------------------------------------------------------------------

    def _lost(self, hands: Hands, batch: list[Job] | None, lost: WorkerLost) -> None:
        """A worker is gone, as one of its batches noticed. Once all have come back, what they ran is judged as one."""
        self._pool.lose(hands.worker, hung=lost.hung)
        hands.end_tests(lost)
        if batch is not None:
            hands.running.remove(batch)
            for job in batch:
                job.key = job.key or job.request.strike_key()
            if lost.place is not None:
                hands.hung = True
                self._settle(self._overrun(batch, lost.place), lost)
            elif lost.hung:
                hands.hung = True
                self._settle(judge(self._strikes, [], hung=batch, closing=self._closing), lost)
            else:
                hands.lost.append(batch)
        if hands.running:
            return
        self._hands.pop(hands.worker, None)
        batches, hands.lost = hands.lost, []
        if hands.hung:
            self._settle(judge(self._strikes, batches, hung=[], closing=self._closing), lost)
        else:
            self._settle(judge(self._strikes, batches, closing=self._closing), lost)
        self._hand_out()

    def _overrun(self, batch: list[Job], place: int) -> Verdict[Job]:
        """CPU time is nobody else's: the study is refused from now on, in whatever file, and its neighbours run again."""
        culprit = batch[place]
        self._strikes.condemn(culprit.request.photograph_key())
        again = [job for job in batch if job is not culprit]
        if self._closing:
            return Verdict(refused=[culprit], told=again, culprits=[culprit])
        return Verdict(refused=[culprit], again=again, culprits=[culprit])

    def _settle(self, verdict: Verdict[Job], lost: WorkerLost) -> None:
        refuse(verdict.refused, poison_error())
        refuse(verdict.told, lost)
        self._line.put_back(verdict.again)
        for job in verdict.culprits:
            if job.request.study.image and not lost.killed and (refusal := self._callers.lost(job.share.name)) is not None:
                self._line.refuse_photographs(job.share.name, refusal)
