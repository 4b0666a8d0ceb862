"""Answering a stream: a bounded window of requests in work, answers as they are ready, ids that are in work once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from foveal_runtime.errors import FovealError, OverloadedError, StudyError

_T = TypeVar("_T")


class Requests(Protocol):
    """A caller's stream that counts what is unanswered."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Its messages, valid ones alone."""
        ...

    def answered(self, message: Any, /) -> None:
        """The answer of one of them was sent."""
        ...


async def windowed(
    requests: Requests,
    one: Callable[[Any], Awaitable[_T]],
    failed: Callable[[Any, FovealError], Awaitable[_T]],
    *,
    id_of: Callable[[Any], str],
    field: str,
    window: int,
) -> AsyncIterator[_T]:
    """Answer a stream with at most `window` requests in work; a slow reader stops the reading, as it should.

    Args:
        requests: the caller's stream.
        one: answers a request, or raises `FovealError`.
        failed: the answer that carries that error; raises what ends the stream.
        id_of: the caller's id of a request; one that is in work already is refused. Empty is none.
        field: where that id stands inside what `failed` names.
        window: bound on what is in work or waits to be sent.
    """
    ready: asyncio.Queue[tuple[Any, _T] | BaseException | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)
    in_work: set[str] = set()

    async def work(request: Any, own_id: str) -> None:
        try:
            await ready.put((request, await _answered(request, one, failed)))
        except Exception as error:  # noqa: BLE001 - handed to the RPC's boundary through the queue
            await ready.put(error)
        finally:
            in_work.discard(own_id)

    async def read() -> None:
        end: Exception | None = None
        async with asyncio.TaskGroup() as group:
            try:
                messages = aiter(requests)
                while True:
                    await room.acquire()  # before the message is received
                    try:
                        request = await anext(messages)
                    except StopAsyncIteration:
                        break
                    own_id = id_of(request)
                    if own_id and own_id in in_work:
                        await ready.put((request, await failed(request, repeated(field))))
                        continue
                    in_work.add(own_id)
                    group.create_task(work(request, own_id))
                    del request  # while the next one is waited for, this one may be answered and freed
            except Exception as error:  # noqa: BLE001 - handed to the RPC's boundary, after the answers to what came before
                end = error
        await ready.put(end)

    reader = asyncio.create_task(read())
    try:
        while (item := await ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            request, answer = item
            yield answer
            requests.answered(request)
            del item, request, answer
            room.release()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _answered(
    request: Any, one: Callable[[Any], Awaitable[_T]], failed: Callable[[Any, FovealError], Awaitable[_T]]
) -> _T:
    try:
        return await one(request)
    except FovealError as error:
        return await failed(request, error)


def repeated(field: str) -> StudyError:
    """The refusal of an id that another study or entry of the same call has: its answers could not be told apart."""
    return StudyError(f"{field} is that of another one of this call; give each its own, or leave it out", field=field)


async def patiently(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Try until there is room: bulk work waits for it, which slows its sender, and is not refused."""
    while True:
        try:
            return await attempt()
        except OverloadedError as full:
            await asyncio.sleep(full.retry_after_s)
