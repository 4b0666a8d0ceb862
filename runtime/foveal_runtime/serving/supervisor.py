"""One worker process as its parent sees it: start, ask, notice that it died or hangs, end it. Knows nothing of queues.

A socket pair carries the jobs; the child owns the other end and ends itself when ours closes. `multiprocessing` would start it
with a resource-tracker process beside it, and run the caller's main module again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError, UnavailableError
from foveal_runtime.serving.decodeclock import DecodeClock
from foveal_runtime.serving.jobs import RunJob, SelfTestJob, Started, Waiting
from foveal_runtime.serving.memory import WORKER_MALLOC
from foveal_runtime.serving.wire import Wire
from foveal_runtime.serving.worker import Ready
from foveal_runtime.serving.workerspec import WorkerSpec

if TYPE_CHECKING:
    from foveal_runtime.engine.answers import Ask, Outcome
    from foveal_runtime.engine.selftest import SelfTestReport
    from foveal_runtime.study.study import Study


log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "foveal_runtime.serving.worker")
_MAX_ANSWER_BYTES = 256 << 20
"""Of one answer: a batch's vectors are a thousandth of it."""
_GONE_WITHIN_S = 1.0
"""A process whose end of the socket is closed has ended by then."""
_LOOK_EVERY_S = 0.1
"""How often a batch in work is looked at for a photograph that takes too long to decode."""


class WorkerLost(UnavailableError):
    """The worker died or hangs; it has been ended, and what it was asked is not answered.

    Attributes:
        hung: it was alive but silent for longer than its limit.
        place: in the batch, of the study whose photograph took too long to decode; None when it was something else.
        killed: SIGKILL or SIGTERM ended it: somebody, or the kernel where memory ran out, but no crash of its own.
    """

    def __init__(self, message: str, *, hung: bool, place: int | None = None, killed: bool = False) -> None:
        super().__init__(message)
        self.hung = hung
        self.place = place
        self.killed = killed


class _Question:
    """What a worker was asked and has not answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_start: Callable[[], None]) -> None:
        self.answer: Future[object] = Future()
        self.started: float | None = None
        """When the worker last began with it or a part of it, on the monotonic clock; None while it waits for others."""
        self.hung = False
        """It was in work together with the one whose time ran out."""
        self._loop, self._on_start = loop, on_start
        self._begun = False

    def start(self, now: float) -> None:
        """Called by the thread that reads the worker's answers."""
        self.started = now
        if not self._begun:
            self._begun = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._on_start)


class Worker:
    """A running worker. As many questions at a time as it has lanes, or as its pipeline holds; more wait in it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        connection: socket.socket,
        clock: DecodeClock | None = None,
        decode_cpu_s: float = 0.0,
    ) -> None:
        self._process = process
        self._clock, self._decode_cpu_s = clock, decode_cpu_s
        self._wire = Wire(connection, max_bytes=_MAX_ANSWER_BYTES, trusted=False)
        # Threads of their own: pickling a batch of photographs and reading the answers must not hold up the event loop.
        self._sender = ThreadPoolExecutor(1, thread_name_prefix=f"worker-{process.pid}")
        self._reader = threading.Thread(target=self._read, name=f"answers-{process.pid}", daemon=True)
        self._lock = threading.Lock()
        self._asked: dict[int, _Question] = {}
        self._heard = time.monotonic()
        """When the worker last began or ended anything."""
        self._numbers = itertools.count()
        self._broken = False
        self.ready: Ready | None = None
        self._reader.start()

    @classmethod
    async def start(cls, spec: WorkerSpec, *, start_timeout_s: float) -> Worker:
        """Start a process, and wait until it has loaded the bundle and warmed up.

        Raises:
            FovealError: what the worker says is wrong with the bundle or the provider.
            WorkerLost: it died or took too long.
        """
        ours, theirs = socket.socketpair()
        clock = DecodeClock()
        page = () if clock.descriptor is None else (clock.descriptor,)
        with theirs:
            process = subprocess.Popen(
                [*_COMMAND, str(theirs.fileno()), spec.policy.to_text(), *map(str, page)],
                pass_fds=(theirs.fileno(), *page, *spec.descriptors),
                stdin=subprocess.DEVNULL,
                env={**os.environ, **WORKER_MALLOC},
                start_new_session=True,  # Ctrl-C is the server's to handle: it drains first
            )
        worker = cls(process, ours, clock, spec.decode_cpu_s)
        try:
            ready = await worker._ask(spec, start_timeout_s)
        except BaseException:
            worker.kill()
            raise
        assert isinstance(ready, Ready)
        worker.ready = ready
        return worker

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def decoding_bytes(self) -> int | None:
        """Memory for the photographs that it decodes now; None where nobody counts it."""
        return None if self._clock is None else self._clock.decoding_bytes()

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on this event loop when the process ends, however it does."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                loop.call_soon_threadsafe(callback)

        threading.Thread(target=wait, name=f"exit-{self.pid}", daemon=True).start()

    async def run(
        self,
        studies: Sequence[Study],
        asks: Sequence[Ask],
        *,
        timeout_s: float,
        on_start: Callable[[], None] = lambda: None,
    ) -> list[Outcome | FovealError]:
        """Run studies as one batch.

        Args:
            studies: of the batch.
            asks: what is wanted of each.
            timeout_s: for the batch alone, not for what the worker does before it.
            on_start: called on this loop when the worker begins with it.

        Raises:
            WorkerLost: the process died, or was silent for `timeout_s`.
        """
        answer = await self._ask(RunJob(tuple(studies), tuple(asks)), timeout_s, on_start)
        assert isinstance(answer, list)
        return answer

    async def self_test(self, *, timeout_s: float) -> SelfTestReport:
        """Replay the golden studies.

        Raises:
            WorkerLost: the process died, or was silent for `timeout_s`.
        """
        from foveal_runtime.engine.selftest import SelfTestReport

        answer = await self._ask(SelfTestJob(), timeout_s)
        assert isinstance(answer, SelfTestReport)
        return answer

    async def _ask(self, message: object, timeout_s: float, on_start: Callable[[], None] = lambda: None) -> object:
        question = _Question(asyncio.get_running_loop(), on_start)
        with self._lock:
            if self._broken:
                raise _died()
            number = next(self._numbers)
            self._asked[number] = question
        self._sender.submit(self._send, number, message)
        asking = asyncio.wrap_future(question.answer)
        asking.add_done_callback(_retrieved)
        # The watchdog is here and not in a thread, so that it also sees a worker that stopped reading.
        asked = time.monotonic()
        while not asking.done():
            left_s = self._begins(question, asked) + timeout_s - time.monotonic()
            if left_s <= 0:
                self._blame(question)
                await asyncio.to_thread(self.kill)
                break
            done, _ = await asyncio.wait((asking,), timeout=min(left_s, _LOOK_EVERY_S))
            place = None if done else self._overrun(number)  # most are answered before there is anything to see
            if place is not None:
                question.hung = True
                await asyncio.to_thread(self.kill)
                raise WorkerLost("decoding this photograph took too long, and its worker was replaced", hung=True, place=place)
        if question.hung:
            raise WorkerLost(f"a worker gave no answer for {timeout_s:g} s and was replaced; send again", hung=True)
        found = asking.result()
        if isinstance(found, FovealError):
            raise found
        return found

    def _overrun(self, number: int) -> int | None:
        if self._clock is None or self._process.poll() is not None:
            return None
        return self._clock.overrun(self.pid, number, self._decode_cpu_s)

    def _begins(self, question: _Question, asked: float) -> float:
        """When its watchdog's clock began.

        A batch pays for its own time. While it waits for others, theirs are watched; with nothing in work it is patient as long
        as the worker begins or ends anything.
        """
        if question.started is not None:
            return question.started
        with self._lock:
            watched = any(other.started is not None for other in self._asked.values())
        return time.monotonic() if watched else max(asked, self._heard)

    def _blame(self, question: _Question) -> None:
        """Its time ran out, and that of all that began with it: their studies share a graph call."""
        question.hung = True
        with self._lock:
            for other in self._asked.values():
                other.hung |= question.started is not None and other.started == question.started

    def _send(self, number: int, message: object) -> None:
        try:
            self._wire.send((number, message))
        except OSError:
            # Half a message may have gone out, so it can't be asked anything more; that it is gone is noticed by the reader.
            self._process.kill()

    def _read(self) -> None:
        try:
            while True:
                number, answer = self._wire.receive()
                self._heard = time.monotonic()
                self._note(number, answer)
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):  # its end of the socket closes a moment before it is gone
                self._process.wait(_GONE_WITHIN_S)
            self._break(_died(killed=self._process.returncode in (-signal.SIGKILL, -signal.SIGTERM)))
        except Exception as nonsense:  # noqa: BLE001 - whatever it sent, its callers are told
            log.error("a worker's answer can't be read (%s)", type(nonsense).__name__)
            self._process.kill()
            self._break(WorkerLost("a worker answered nonsense and was replaced; send again", hung=False))

    def _note(self, number: int, answer: object) -> None:
        if isinstance(answer, Started):
            for each in (number, *answer.also):
                self._asked[each].start(self._heard)
        elif isinstance(answer, Waiting):
            self._asked[number].started = None
        else:
            with self._lock:
                question = self._asked.pop(number)
            question.answer.set_result(answer)

    def _break(self, error: Exception) -> None:
        with self._lock:
            self._broken = True
            left, self._asked = list(self._asked.values()), {}
        for question in left:
            question.answer.set_exception(error)

    def kill(self) -> None:
        """End the process at once. Idempotent."""
        with self._lock:
            self._broken = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._sender.shutdown(wait=False)

    def close(self) -> None:
        """End the process and give back its socket; nothing may be running in it."""
        self.kill()
        self._sender.shutdown(wait=True)
        self._reader.join()
        self._wire.close()
        clock, self._clock = self._clock, None
        if clock is not None:
            clock.close()


def _died(*, killed: bool = False) -> WorkerLost:
    return WorkerLost("a worker process died and was replaced; send again", hung=False, killed=killed)


def _retrieved(asking: asyncio.Future[object]) -> None:
    """Nobody waits any more once the batcher is closing; asyncio would complain of an error that was never looked at."""
    if not asking.cancelled():
        asking.exception()
