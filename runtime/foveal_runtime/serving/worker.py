"""The child process that decodes, tokenises and runs the graphs. Knows nothing of queues, deadlines or gRPC.

Started by `supervisor` as `python -m foveal_runtime.serving.worker FD`, with one end of a socket. It has lanes, threads that
share the weights and each take the next job: two batches in work keep two cores busy where one batch, shared out, would wait
for its slower half. A thread reads the socket all the while: when the server is gone, however it went, that thread ends the
process, even in the middle of a graph that never returns.
"""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from foveal_runtime.serving.memory import trim

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.answers import Ask, Outcome, Prepared
    from foveal_runtime.engine.compiled import Compiled
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.errors import FovealError
    from foveal_runtime.photo.imaging import ImageLimits
    from foveal_runtime.study.study import Study

_NICE = 5
"""Below the server's own process, which refuses and answers in a millisecond where it need not wait for a graph to end."""

_SWITCH_S = 0.0005
"""How soon a lane that wants the interpreter gets it. The default is five milliseconds; decoding a photograph takes ten."""

_TRIM_EVERY = 200
"""Batches; photographs of many sizes leave holes."""

_T = TypeVar("_T")
_R = TypeVar("_R")
_Jobs: TypeAlias = "queue.SimpleQueue[tuple[int, object]]"
_Placed: TypeAlias = "tuple[int, _T | FovealError]"
"""What came of the study at that place in its batch."""


QUICK_STUDIES = 4
"""Golden studies that a worker replays at least before it takes the place of another."""


class Replay(Enum):
    """How much a worker proves before it gets a caller's study."""

    ALL = "all"
    SOME = "some"
    """The fullest study and one of every modality, four at least: callers wait for a worker that replaces another."""
    NONE = "none"
    """For measuring speed alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpec:
    """What a worker serves, and how."""

    bundle: Bundle
    """Whose hashes the parent has checked. Of a sealed one the worker inherits the descriptors."""
    provider: str
    threads: int
    """To decode and run the graphs with; half as many inside one graph call."""
    max_rows: int
    """In one graph call."""
    limits: ImageLimits
    compiled: Compiled | None = None
    """The bundle's graphs as compiled on this device, whose hashes the parent has checked; None loads the bundle's own."""
    replay: Replay = Replay.ALL
    """Golden studies to replay before reporting ready."""
    min_gradable: float | None = None
    """The clinic's threshold of the gradability check; None is the check's own."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker process has to inherit."""
        return () if self.bundle.sealed is None else tuple(self.bundle.sealed.descriptors.values())

    @property
    def lanes(self) -> int:
        """Jobs in work at once, among which the threads are divided."""
        return lanes_for(self.provider, self.threads)


@dataclass(frozen=True, slots=True)
class RunJob:
    """Studies to run together."""

    studies: tuple[Study, ...]
    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class SelfTestJob:
    """Replay the golden studies."""


@dataclass(frozen=True, slots=True)
class Started:
    """The job of that number is no longer waiting in the worker: what it takes from here on is its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The worker has loaded and warmed up."""

    self_test: SelfTestReport | None
    load_s: float


def main() -> None:
    """Entry of the child process."""
    warnings.simplefilter("ignore")  # image libraries warn of every oddity of every hostile file
    connection = Connection(int(sys.argv[1]))
    jobs: _Jobs = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    number, spec = jobs.get()
    assert isinstance(spec, WorkerSpec)
    answer = _Answers(connection)
    started = time.perf_counter()
    from foveal_runtime.errors import FovealError, UnavailableError

    try:
        engine = _load(spec)
        report = _warm_up(engine, spec)
    except FovealError as error:
        answer(number, error)
        return
    except Exception as error:  # noqa: BLE001 - the process's boundary: the parent must learn why
        answer(number, UnavailableError(f"worker can't start: {type(error).__name__}: {error}"))
        return
    _step_back()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()  # what was loaded lives as long as the process
    # Loading leaves holes as large as the weights that were repacked: 69 MB with `base` INT8.
    trim()
    answer(number, Ready(self_test=report, load_s=time.perf_counter() - started))
    for _ in range(spec.lanes - 1):
        threading.Thread(target=_lane, args=(engine, spec, jobs, answer), daemon=True).start()
    _lane(engine, spec, jobs, answer)


def _lane(engine: Engine, spec: WorkerSpec, jobs: _Jobs, answer: _Answers) -> None:
    try:
        crew = Crew(spec.threads // spec.lanes)
        for turn in itertools.count(1):
            number, job = jobs.get()
            answer(number, Started())
            if isinstance(job, RunJob):
                answer(number, run_batch(engine, crew, job.studies, job.asks))
                if turn % _TRIM_EVERY == 0:
                    trim()
            else:
                assert isinstance(job, SelfTestJob)
                from foveal_runtime.engine.selftest import self_test

                answer(number, self_test(engine))
    except OSError:
        os._exit(0)  # the server is gone
    except BaseException as error:  # noqa: BLE001 - told, and the process ends: a lane less, only the watchdog would notice
        traceback.print_tb(error.__traceback__)
        sys.stderr.write(f"{type(error).__name__}\n")  # its text may hold what a caller sent
        os._exit(1)


def _step_back() -> None:
    """Lower the priority of every thread there is, once loaded: callers wait for a worker that starts."""
    if sys.platform == "linux":  # where a priority is a thread's own
        for thread in Path("/proc/self/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)


def _listen(connection: Connection, jobs: _Jobs) -> None:
    while True:
        try:
            jobs.put(pickle.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            # No clean-up: the main thread may be inside a graph, and there is nobody left to answer.
            os._exit(0)


class _Answers:
    """Sends the answer to the job of a number; lanes share the socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, number: int, answer: object) -> None:
        data = pickle.dumps((number, answer), protocol=5)
        with self._lock:
            self._connection.send_bytes(data)


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
        engine.run([engine.prepare(golden.studies[-1])])
        return None
    return self_test(engine, golden if spec.replay is Replay.ALL else golden.some(QUICK_STUDIES))


def graph_threads(threads: int) -> int:
    """Threads inside one graph call, where so many studies are worked on side by side: cores are better used by whole calls."""
    return max(1, threads // 2)


def lanes_for(provider: str, threads: int) -> int:
    """Jobs that a worker has in work at once: one a thread on the CPU; a GPU takes one batch at a time."""
    return threads if provider == "cpu" else 1


class Crew:
    """Threads of one lane, which decode its studies side by side: decoding and resizing let go of the interpreter's lock."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="crew") if threads > 1 else None

    def map(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The work done on every item, in order."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))


def run_batch(engine: Engine, crew: Crew, studies: Sequence[Study], asks: Sequence[Ask]) -> list[Outcome | FovealError]:
    """An outcome or an error for each study; one that breaks its batch breaks alone."""
    from foveal_runtime.errors import FovealError

    def prepare(place: int) -> _Placed[Prepared]:
        return place, _prepare(engine, studies[place])

    def run(items: Sequence[_Placed[Prepared]]) -> list[_Placed[Outcome]]:
        failed: list[_Placed[Outcome]] = [(place, item) for place, item in items if isinstance(item, FovealError)]
        return failed + _run_or_halve(engine, [(p, item) for p, item in items if not isinstance(item, FovealError)], asks)

    # No more at once than one call takes: decoded photographs are large.
    places, rows = range(len(studies)), engine.max_rows
    done = [run(crew.map(prepare, places[i : i + rows])) for i in range(0, len(places), rows)]
    answers = dict(answer for part in done for answer in part)
    return [_of_batch(answers[place], len(studies)) for place in places]


def _of_batch(answer: Outcome | FovealError, studies: int) -> Outcome | FovealError:
    from foveal_runtime.errors import FovealError

    return answer if isinstance(answer, FovealError) else replace(answer, batch_size=studies)


def _prepare(engine: Engine, study: Study) -> Prepared | FovealError:
    from foveal_runtime.errors import FovealError, ImageError, PoisonError

    try:
        return engine.prepare(study)
    except FovealError as error:
        return error
    except MemoryError:
        return ImageError("image needs more memory to decode than this server has; send it scaled down")
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes; a worker must not die of what they raise
        return PoisonError(f"study can't be prepared ({type(error).__name__}); send an intact photograph")


def _run_or_halve(engine: Engine, prepared: list[tuple[int, Prepared]], asks: Sequence[Ask]) -> list[_Placed[Outcome]]:
    from foveal_runtime.errors import FovealError, PoisonError

    if not prepared:
        return []
    try:
        outcomes = engine.run_each([item for _, item in prepared], [asks[i] for i, _ in prepared])
        return [(i, outcome) for (i, _), outcome in zip(prepared, outcomes, strict=True)]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base but Exception
        if len(prepared) == 1:
            if isinstance(error, FovealError):
                return [(prepared[0][0], error)]
            return [
                (prepared[0][0], PoisonError(f"the model's graphs fail on this study ({type(error).__name__}); leave it out"))
            ]
    middle = len(prepared) // 2
    return _run_or_halve(engine, prepared[:middle], asks) + _run_or_halve(engine, prepared[middle:], asks)


if __name__ == "__main__":
    # Messages name classes of `foveal_runtime.serving.worker`; here this module is called `__main__`.
    from foveal_runtime.serving import worker

    worker.main()
