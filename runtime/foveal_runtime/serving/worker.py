"""The child process that decodes, tokenises and runs the graphs. Knows nothing of queues, deadlines or gRPC.

Started by `supervisor` as `python -m foveal_runtime.serving.worker FD POLICY [FD]`: a socket's end, what it may do, and
a page for `decodeclock`. It has lanes, threads that share the weights and each take the next job: two batches in work keep two
cores busy where one, shared out, would wait for its slower half. A device that takes one batch at a time is kept busy by a
pipeline. A thread reads the socket all the while: when the server is gone, it ends the process, even in the middle of a
graph that never returns.
"""

from __future__ import annotations

import itertools
import os
import queue
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from foveal_runtime.errors import ConfigError, FovealError, UnavailableError
from foveal_runtime.sandbox.confine import Confinement, Policy, Sandbox, confine
from foveal_runtime.serving.decodeclock import DecodeClock
from foveal_runtime.serving.isolation import prepare_alone, run_alone
from foveal_runtime.serving.jobs import RunJob, SelfTestJob, Started
from foveal_runtime.serving.memory import TRIM_EVERY, leave_loaded, trim
from foveal_runtime.serving.pipeline import Pipeline
from foveal_runtime.serving.priority import step_back
from foveal_runtime.serving.wire import Wire, WireError
from foveal_runtime.serving.workerspec import QUICK_STUDIES, Replay, WorkerSpec, graph_threads

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome, Prepared
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.study.study import Study

_NICE = 5
"""Below the server's own process, which refuses and answers in a millisecond where it need not wait for a graph to end."""
_LAST_NICE = 19
_SWITCH_S = 0.0005
"""How soon a lane that wants the interpreter gets it. The default is five milliseconds; decoding a photograph takes ten."""
_MAX_JOB_BYTES = 16 << 30
"""Of a batch; what may wait in the server is limited there."""

_T = TypeVar("_T")
_R = TypeVar("_R")
_Jobs: TypeAlias = "queue.SimpleQueue[tuple[int, object]]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The worker has loaded and warmed up."""

    self_test: SelfTestReport | None
    load_s: float
    confinement: Confinement
    """What was taken from the process before it read anything of a caller's."""


def main() -> None:
    """Entry of the child process."""
    warnings.simplefilter("ignore")  # image libraries warn of every oddity of every hostile file
    policy = Policy.from_text(sys.argv[2])
    confinement = confine(policy)
    wire = Wire(socket.socket(fileno=int(sys.argv[1])), max_bytes=_MAX_JOB_BYTES)
    jobs: _Jobs = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(wire, jobs), daemon=True).start()
    clock = DecodeClock(int(sys.argv[3])) if len(sys.argv) > 3 else None
    number, spec = jobs.get()
    assert isinstance(spec, WorkerSpec)
    answer = _Answers(wire)
    started = time.perf_counter()
    try:
        _require(policy, confinement)
        engine = _load(spec)
        report = _warm_up(engine, spec)
    except FovealError as error:
        answer(number, error)
        return
    except Exception as error:  # noqa: BLE001 - the process's boundary: the parent must learn why
        answer(number, UnavailableError(f"worker can't start: {type(error).__name__}: {error}"))
        return
    step_back(_LAST_NICE if spec.background else _NICE)
    sys.setswitchinterval(_SWITCH_S)
    leave_loaded()
    # Loading leaves holes as large as the weights that were repacked: 69 MB with `base` INT8.
    trim()
    answer(number, Ready(self_test=report, load_s=time.perf_counter() - started, confinement=confinement))
    if spec.is_pipeline:
        _side_by_side(*_stages(Pipeline(engine, answer, clock), spec, jobs))
    else:
        _side_by_side(*[lambda: _lane(engine, spec, jobs, answer, clock)] * spec.lanes)


def _lane(engine: Engine, spec: WorkerSpec, jobs: _Jobs, answer: _Answers, clock: DecodeClock | None) -> None:
    """Run one job after the other."""
    crew = Crew(spec.threads // spec.lanes)
    for turn in itertools.count(1):
        number, job = jobs.get()
        answer(number, Started())
        if isinstance(job, RunJob):
            answer(number, run_batch(engine, crew, job.studies, job.asks, number, clock))
            if turn % TRIM_EVERY == 0:
                trim()
        else:
            assert isinstance(job, SelfTestJob)
            from foveal_runtime.engine.selftest import self_test

            answer(number, self_test(engine))


def _stages(pipeline: Pipeline, spec: WorkerSpec, jobs: _Jobs) -> list[Callable[[], None]]:
    def feed() -> None:
        while True:
            pipeline.put(*jobs.get())

    return [feed, *[pipeline.decode] * spec.threads, pipeline.run_graphs]


def _side_by_side(*loops: Callable[[], None]) -> None:
    """Run loops that never return, the last in this thread; the process ends with the first that fails."""
    for loop in loops[:-1]:
        threading.Thread(target=_for_ever, args=(loop,), daemon=True).start()
    _for_ever(loops[-1])


def _for_ever(loop: Callable[[], None]) -> None:
    try:
        loop()
    except OSError:
        os._exit(0)  # the server is gone
    except BaseException as error:  # noqa: BLE001 - told, and the process ends: a loop less, only the watchdog would notice
        traceback.print_tb(error.__traceback__)
        sys.stderr.write(f"{type(error).__name__}\n")  # its text may hold what a caller sent
        os._exit(1)


def _listen(wire: Wire, jobs: _Jobs) -> None:
    while True:
        try:
            jobs.put(wire.receive())
        except (EOFError, OSError):
            # No clean-up: the main thread may be inside a graph, and there is nobody left to answer.
            os._exit(0)
        except (WireError, MemoryError) as error:
            sys.stderr.write(f"a worker can't read its server: {type(error).__name__}\n")
            os._exit(1)


class _Answers:
    """Sends the answer to the job of a number; lanes share the socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = threading.Lock()

    def __call__(self, number: int, answer: object) -> None:
        with self._lock:
            self._wire.send((number, answer))


def _require(policy: Policy, confinement: Confinement) -> None:
    """Refuse to serve with less than was asked for.

    Raises:
        ConfigError: `strict`, and something was not reached.
    """
    if policy.mode is Sandbox.STRICT and confinement.level != "full":
        raise ConfigError(f"--sandbox strict is not reached here: {confinement}; mend this, or serve with --sandbox auto")


def _load(spec: WorkerSpec) -> Engine:
    from foveal_runtime.engine.engine import Engine

    return Engine(
        spec.bundle,
        provider=spec.provider,
        threads=graph_threads(spec.threads),
        limits=spec.limits,
        max_rows=spec.max_rows,
        compiled=spec.compiled,
        min_gradable=spec.min_gradable,
    )


def _warm_up(engine: Engine, spec: WorkerSpec) -> SelfTestReport | None:
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.engine.selftest import self_test

    golden = read_golden(engine.bundle)
    if spec.replay is Replay.NONE:
        engine.run([engine.prepare(golden.studies[-1])], grade=bool(engine.manifest.trained_heads))
        return None
    return self_test(engine, golden if spec.replay is Replay.ALL else golden.some(QUICK_STUDIES), lanes=spec.lanes)


class Crew:
    """Threads of one lane, which decode its studies side by side: decoding and resizing let go of the interpreter's lock."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="crew") if threads > 1 else None

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The work done on every item, in order."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))


def run_batch(
    engine: Engine,
    crew: Crew,
    studies: Sequence[Study],
    asks: Sequence[Ask],
    number: int = 0,
    clock: DecodeClock | None = None,
) -> list[Outcome | FovealError]:
    """An outcome or an error for each study; one that breaks its batch breaks alone. What is decoded is noted on the clock."""

    def prepare(place: int) -> Prepared | FovealError:
        watched = None if clock is None else partial(clock.running, number, place)
        return prepare_alone(engine, studies[place], watched)

    def run(places: Sequence[int]) -> list[Outcome | FovealError]:
        items = crew.map(prepare, places)
        ready = [(item, asks[place]) for place, item in zip(places, items, strict=True) if not isinstance(item, FovealError)]
        outcomes = iter(run_alone(engine, ready))
        return [item if isinstance(item, FovealError) else next(outcomes) for item in items]

    # No more at once than one call takes: decoded photographs are large.
    places, rows = range(len(studies)), engine.max_rows
    return [_of_batch(each, len(studies)) for i in range(0, len(places), rows) for each in run(places[i : i + rows])]


def _of_batch(answer: Outcome | FovealError, studies: int) -> Outcome | FovealError:
    return answer if isinstance(answer, FovealError) else replace(answer, batch_size=studies)


if __name__ == "__main__":
    # Messages name classes of `foveal_runtime.serving.worker`; here this module is called `__main__`.
    from foveal_runtime.serving import worker

    worker.main()
