"""Ask a server about many files: requests that any server takes, a few in flight, answers in the files' order.

A file that can't be read, and one that the server refuses, fails alone. A server that goes away half way costs only the files
that it had not answered. Prints nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.errors import FovealError, InputError, UnavailableError

if TYPE_CHECKING:
    from foveal_runtime.study.study import Study

REQUEST_BYTES = 24 << 20
REQUEST_STUDIES = 16
IN_FLIGHT = 3
"""Requests at once: one in work, one on its way, one being read. More would only wait in the server's queue."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one file."""

    file: Path
    answer: Any
    """The result's message, or the `FovealError` that is in its place."""
    model: Any
    """What answered; None where nothing did."""


_Part = list[tuple[Path, "Study | FovealError"]]


def answered(
    files: Sequence[Path], read: Callable[[int, Path], Study], call: Callable[[list[Study]], Any]
) -> Iterator[Answered]:
    """Every file with its answer, in order, as answers come.

    Args:
        files: what to ask about.
        read: from a file's place and path to its study; raises InputError for one that can't be used.
        call: sends one request and returns its response, with `results` and `model`; called in threads.

    Raises:
        FovealError: a request as a whole failed before any was answered. Later ones fail their own files.
    """
    waiting: deque[tuple[_Part, Future[Any] | None]] = deque()
    parts = _parts(files, read)
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="ask")
    told, done, lost = False, 0, None
    try:
        while True:
            while lost is None and len(waiting) < IN_FLIGHT and (part := next(parts, None)) is not None:
                studies = [study for _, study in part if not isinstance(study, FovealError)]
                waiting.append((part, pool.submit(call, studies) if studies else None))
            if not waiting:
                break
            part, future = waiting.popleft()
            try:
                response = None if future is None else future.result()
            except FovealError as error:
                if not told and not (isinstance(error, InputError) and len(part) == 1):
                    raise
                lost = error if isinstance(error, UnavailableError) else lost
                rows = [Answered(file, study if isinstance(study, FovealError) else error, None) for file, study in part]
            else:
                rows = list(_rows(part, response))
                told = told or response is not None
            done += len(rows)
            yield from rows
        for file in files[done:]:
            yield Answered(file, lost, None)
    finally:
        # Not waited for: who leaves closes the channel, which ends the calls in flight.
        pool.shutdown(wait=False, cancel_futures=True)


def _parts(files: Sequence[Path], read: Callable[[int, Path], Study]) -> Iterator[_Part]:
    """Files with their studies, as many as one request takes."""
    part: _Part = []
    size = 0
    for i, file in enumerate(files):
        try:
            study: Study | FovealError = read(i, file)
        except InputError as error:
            study = error
        weight = 0 if isinstance(study, FovealError) else len(study.image or b"")
        if part and (size + weight > REQUEST_BYTES or len(part) >= REQUEST_STUDIES):
            yield part
            part, size = [], 0
        part.append((file, study))
        size += weight
    if part:
        yield part


def _rows(part: _Part, response: Any) -> Iterator[Answered]:
    from foveal_runtime.rpc.status import error_of

    results = iter(response.results if response is not None else ())
    for file, study in part:
        if isinstance(study, FovealError):
            yield Answered(file, study, None)
            continue
        result = next(results)
        answer = error_of(result.error) if result.WhichOneof("outcome") == "error" else result
        yield Answered(file, answer, response.model)
