"""Keep one device busy: a pool of threads prepares studies, and one loop runs the graphs on what is ready, whoever asked.

A graph call takes the prepared studies of the oldest jobs, as many as fit, and waits for no more. A job is answered when all
its studies are. Makes no threads and knows no sockets: a worker process calls `decode` in several threads, `run_graphs` in one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError
from foveal_runtime.serving.isolation import prepare_alone, run_alone
from foveal_runtime.serving.jobs import RunJob, SelfTestJob, Started, Waiting
from foveal_runtime.serving.memory import TRIM_EVERY, trim

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome, Prepared
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.serving.decodeclock import DecodeClock
    from foveal_runtime.study.study import Study

CALLS_AHEAD = 2
"""Full graph calls that are prepared before the device asks for them: one while it runs another, one for good measure."""


@dataclass(eq=False, slots=True)
class _Open:
    """A job that is not answered."""

    number: int
    undecoded: deque[tuple[int, Study]]
    """With its place in the job; let go when it is decoded, since a photograph is large."""
    asks: Sequence[Ask]
    answers: dict[int, Outcome | FovealError] = field(default_factory=dict)
    """By place."""
    in_work: int = 0
    """Studies that are being decoded or are in the graphs."""
    started: bool = False
    """Whether its server was last told that something of it is in work."""

    @property
    def done(self) -> bool:
        return len(self.answers) == len(self.asks)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A prepared study."""

    job: _Open
    place: int
    prepared: Prepared


class Pipeline:
    """Jobs in, answers out. Threads may share it."""

    def __init__(self, engine: Engine, tell: Callable[[int, object], None], clock: DecodeClock | None = None) -> None:
        """Args:
        engine: prepares and runs.
        tell: sends a message about the job of a number. Called with the pipeline's lock held, so that messages about one job
            keep their order.
        clock: where it is noted what is decoded; None notes nothing.
        """
        self._clock = clock
        self._engine = engine
        self._tell = tell
        self._room = CALLS_AHEAD * engine.max_rows
        self._changed = threading.Condition()
        self._open: dict[int, _Open] = {}
        """By number, oldest first."""
        self._tests: deque[int] = deque()
        self._ready: list[_Ready] = []
        self._decoding = 0
        self._device_busy = False
        self._closed = False

    def put(self, number: int, job: object) -> None:
        """Take a job; numbers rise."""
        with self._changed:
            if isinstance(job, SelfTestJob):
                self._tests.append(number)
            else:
                assert isinstance(job, RunJob)
                self._open[number] = opened = _Open(number, deque(enumerate(job.studies)), job.asks)
                if not job.studies:
                    self._answer(opened)
            self._changed.notify_all()

    def close(self) -> None:
        """Have every loop return; what is not answered stays so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ahead(self) -> int:
        """Studies that are being prepared, or are prepared and wait for the graphs."""
        with self._changed:
            return self._decoding + len(self._ready)

    # --- decoding -----------------------------------------------------------------------------------------------------

    def decode(self) -> None:
        """Prepare studies, oldest job first, until closed."""
        last: tuple[_Open, int, Prepared | FovealError] | None = None
        while (turn := self._next_study(last)) is not None:
            last = (turn[0], turn[1], self._prepare(*turn))
            del turn  # a photograph is not kept while there is nothing to do

    def _prepare(self, job: _Open, place: int, study: Study) -> Prepared | FovealError:
        clock = self._clock
        watched = None if clock is None else partial(clock.running, job.number, place)
        return prepare_alone(self._engine, study, watched)

    def _next_study(self, last: tuple[_Open, int, Prepared | FovealError] | None) -> tuple[_Open, int, Study] | None:
        """File what was prepared, and take the next study once there is room for it."""
        with self._changed:
            if last is not None:
                self._file(*last)
            if (turn := self._take_study()) is None:
                self._report()
            while turn is None and not self._closed:
                self._changed.wait()
                turn = self._take_study()
            if not self._closed:
                self._report()
            return None if self._closed else turn

    def _file(self, job: _Open, place: int, prepared: Prepared | FovealError) -> None:
        self._decoding -= 1
        job.in_work -= 1
        if isinstance(prepared, FovealError):
            job.answers[place] = prepared
            if job.done:
                self._answer(job)
        else:
            self._ready.append(_Ready(job, place, prepared))
        self._changed.notify_all()

    def _take_study(self) -> tuple[_Open, int, Study] | None:
        if self._decoding + len(self._ready) >= self._room:
            return None
        for job in self._open.values():
            if job.undecoded:
                self._decoding += 1
                job.in_work += 1
                return job, *job.undecoded.popleft()
        return None

    # --- graphs -------------------------------------------------------------------------------------------------------

    def run_graphs(self) -> None:
        """Run what is ready, and self-tests between two calls, until closed."""
        calls = 0
        while (turn := self._next_call()) is not None:
            if isinstance(turn, int):
                self._self_test(turn)
                continue
            self._run(turn)
            calls += 1
            if calls % TRIM_EVERY == 0:
                trim()

    def _next_call(self) -> list[_Ready] | int | None:
        """The studies of the next call, or the number of a self-test, which runs once all older jobs are answered."""
        with self._changed:
            self._device_busy = False
            while not self._closed:
                if self._tests and min(self._open, default=self._tests[0]) >= self._tests[0]:
                    self._device_busy = True
                    self._report()
                    return self._tests.popleft()
                if self._ready:
                    return self._take_ready()
                self._changed.wait()
            return None

    def _take_ready(self) -> list[_Ready]:
        self._ready.sort(key=lambda item: (item.job.number, item.place))
        rows = self._engine.max_rows
        call, self._ready = self._ready[:rows], self._ready[rows:]
        jobs = list(dict.fromkeys(item.job for item in call))
        for item in call:
            item.job.in_work += 1
        for job in jobs:
            job.started = True
        # Told also of jobs that were in work: the clock of a call starts with the call, for all whose studies it holds.
        self._tell(jobs[0].number, Started(also=tuple(job.number for job in jobs[1:])))
        self._device_busy = True
        self._report()
        self._changed.notify_all()
        return call

    def _run(self, call: list[_Ready]) -> None:
        outcomes = run_alone(self._engine, [(item.prepared, item.job.asks[item.place]) for item in call])
        with self._changed:
            for item, outcome in zip(call, outcomes, strict=True):
                item.job.answers[item.place] = outcome
                item.job.in_work -= 1
            for job in dict.fromkeys(item.job for item in call):
                if job.done:
                    self._answer(job)
            self._changed.notify_all()

    def _self_test(self, number: int) -> None:
        from foveal_runtime.engine.selftest import self_test

        self._tell_locked(number, Started())
        self._tell_locked(number, self_test(self._engine))

    def _tell_locked(self, number: int, message: object) -> None:
        with self._changed:
            self._tell(number, message)

    # --- what the server is told --------------------------------------------------------------------------------------

    def _answer(self, job: _Open) -> None:
        del self._open[job.number]
        self._tell(job.number, [job.answers[place] for place in range(len(job.asks))])

    def _report(self) -> None:
        """Tell which jobs are in work now. One that waits for an idle device is not said to wait: its call comes next."""
        for job in self._open.values():
            if job.in_work and not job.started:
                job.started = True
                self._tell(job.number, Started())
            elif not job.in_work and job.started and self._device_busy:
                job.started = False
                self._tell(job.number, Waiting())
