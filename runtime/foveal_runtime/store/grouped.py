"""Entries that come one by one are stored by one transaction for all that came while the last one ran. Knows no SQL.

Who comes to an idle archive is written at once and alone. What is acknowledged is what a transaction has committed: an entry
waits for that of its group, and where a group fails while PostgreSQL is there, each of its entries is written by itself, so
that one costs no other its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError, StoreError

if TYPE_CHECKING:
    from foveal_runtime.store.entry import Entry

MOST = 64
"""Entries of one transaction."""


class StoreAwayError(StoreError):
    """PostgreSQL can't be reached: whatever is asked of it, the answer is the same."""


@dataclass(eq=False, slots=True)
class _Waiting:
    entry: Entry
    stored: asyncio.Future[None]


class GroupedWrites:
    """Writes of one collection. Lives on one event loop."""

    def __init__(self, write: Callable[[Sequence[Entry]], Awaitable[object]]) -> None:
        """Args:
        write: stores entries, all or none, durably when it returns.
        """
        self._write = write
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def store(self, entry: Entry) -> None:
        """Store one, durably on return.

        Raises:
            FovealError: of this entry; it is not stored.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entry, loop.create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            # Of nobody's call: what is logged there would carry the name of whichever came first.
            self._writing = loop.create_task(self._write_all(), context=Context())
        await waiting.stored

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write_group(self._next_group())
        finally:
            self._writing = None

    def _next_group(self) -> list[_Waiting]:
        """Those whose callers still wait; of one id no more than one, since the second is to be written after the first."""
        group, ids, later = list[_Waiting](), set[str](), deque[_Waiting]()
        while self._waiting and len(group) < MOST:
            each = self._waiting.popleft()
            if each.stored.done():
                continue
            (later if each.entry.id in ids else group).append(each)
            ids.add(each.entry.id)
        self._waiting.extendleft(reversed(later))
        return group

    async def _write_group(self, group: list[_Waiting]) -> None:
        if not group:
            return
        try:
            await self._write([each.entry for each in group])
        except asyncio.CancelledError:
            for each in group:
                each.stored.cancel()  # whether it is stored, nobody is told
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told
            if len(group) > 1 and isinstance(error, FovealError) and not isinstance(error, StoreAwayError):
                await asyncio.gather(*(self._write_group([each]) for each in group))
                return
            for each in group:
                if not each.stored.done():
                    each.stored.set_exception(error)
        else:
            for each in group:
                if not each.stored.done():
                    each.stored.set_result(None)

    async def close(self) -> None:
        """End what is written; none of it has been acknowledged."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        for each in self._waiting:
            each.stored.cancel()
        self._waiting.clear()
