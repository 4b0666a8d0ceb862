"""The bytes of messages that callers may have here at once, arriving or waiting for their answers. Receives nothing itself.

Nobody knows how large a message is before it has arrived, so the largest that may come is set aside first, and what it did not
take is given back. A caller may hold as much as is left free (dynamic thresholds, Choudhury and Hahne 1998): alone it gets half
of the budget, of two each gets a third, and one that comes new always finds a share. Streams share one half of the budget.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from foveal_runtime.errors import OverloadedError
from foveal_runtime.serving.memory import free_bytes
from foveal_runtime.serving.turns import Share

if TYPE_CHECKING:
    from foveal_runtime.serving.config import ServeConfig

COPIES = 3
"""Of a message in this process at its worst: as gRPC received it, as bytes, and parsed; later parsed, and as a photograph."""
_MEMORY_SHARE = 4
"""One part in so many of the free memory is for messages: workers, PostgreSQL and other programs have the rest."""
_LEAST_MESSAGES = 2
"""Of the largest: one of a stream arrives while that of another call does."""
_RETRY_S = 0.5


def chosen_total(free_bytes: int | None, largest_bytes: int, queue_bytes: int) -> int:
    """The budget of a server that was told none, in bytes.

    Args:
        free_bytes: of memory, for this process and its children; None where nobody tells.
        largest_bytes: of one message.
        queue_bytes: that may wait for a worker: more than four times that is never of use.
    """
    least = _LEAST_MESSAGES * largest_bytes
    most = max(least, 4 * queue_bytes)
    return most if free_bytes is None else min(most, max(least, free_bytes // _MEMORY_SHARE // COPIES))


class Reservation:
    """Bytes that one message holds; `release` is idempotent."""

    def __init__(self, budget: ByteBudget, caller: Share, size_bytes: int) -> None:
        self._budget, self._caller, self._bytes = budget, caller, size_bytes

    def arrived(self, size_bytes: int) -> None:
        """The message is here, and smaller than it might have been."""
        if size_bytes < self._bytes:
            self._budget.give_back(self._caller, self._bytes - size_bytes)
            self._bytes = size_bytes

    def release(self) -> None:
        """It is answered, or will not come."""
        self.arrived(0)


@dataclass(eq=False, slots=True)
class _Waiter:
    caller: Share
    ready: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ByteBudget:
    """A number of bytes with holders. Lives on one event loop."""

    def __init__(self, total_bytes: int, largest_bytes: int) -> None:
        """Args:
        total_bytes: of all messages together; of two of the largest at least.
        largest_bytes: of one message.
        """
        self._largest = largest_bytes
        self.total = max(total_bytes, _LEAST_MESSAGES * largest_bytes)
        self._held: defaultdict[Share, int] = defaultdict(int)
        self._bulk = 0
        self.used = 0
        """Bytes that are held or set aside."""
        self._waiting: list[_Waiter] = []

    @classmethod
    def of(cls, config: ServeConfig) -> Self:
        """Of a server: as it was told, or as the memory that is free allows."""
        largest = config.max_message_bytes
        return cls(config.max_received_bytes or chosen_total(free_bytes(), largest, config.queue.max_bytes), largest)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    def _fits(self, caller: Share) -> bool:
        free = self.total - self.used
        if caller.bulk:
            free = min(free, self.total // 2 - self._bulk)
        return self._held.get(caller, 0) + self._largest <= free

    def _take(self, caller: Share) -> None:
        self.used += self._largest
        self._held[caller] += self._largest
        self._bulk += self._largest if caller.bulk else 0

    def give_back(self, caller: Share, size_bytes: int) -> None:
        """Bytes that a reservation no longer needs; whoever waits for them goes on."""
        self.used -= size_bytes
        self._bulk -= size_bytes if caller.bulk else 0
        self._held[caller] -= size_bytes
        if not self._held[caller]:
            del self._held[caller]
        self._wake()

    def _wake(self) -> None:
        refused: set[Share] = set()  # in their order, so that no caller is passed by itself
        for waiter in sorted(self._waiting, key=lambda each: each.caller.bulk):
            if waiter.ready.done() or waiter.caller in refused:
                continue
            if self._fits(waiter.caller):
                self._take(waiter.caller)
                waiter.ready.set_result(None)
            else:
                refused.add(waiter.caller)

    async def arriving(self, caller: Share, *, wait_s: float | None = None) -> Reservation:
        """Set aside what a message may take, before it is received.

        Args:
            caller: whose it is.
            wait_s: how long to wait for room; None is for ever.

        Raises:
            OverloadedError: there was no room in that time.
        """
        if self._fits(caller) and not any(each.caller == caller for each in self._waiting):
            self._take(caller)
            return Reservation(self, caller, self._largest)
        waiter = _Waiter(caller)
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter.ready, wait_s)
        except TimeoutError:
            raise OverloadedError(
                f"{self.used} bytes of messages wait for their answers and {self.total} may, {self._held.get(caller, 0)} of "
                f"them this caller's; send again later",
                retry_after_s=_RETRY_S,
            ) from None
        except asyncio.CancelledError:
            if waiter.ready.done() and not waiter.ready.cancelled():
                self.give_back(caller, self._largest)
            raise
        finally:
            self._waiting.remove(waiter)
        return Reservation(self, caller, self._largest)
