"""Whose turn it is: one queue a share, taken in turns, those that somebody waits for before those that stream. Knows no limits.

Round robin without weights: an item is a study, and all cost about the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

BULK_TURN = 4
"""One place in so many is a stream's while others wait, so that it is slow and never stands still."""


@dataclass(frozen=True, slots=True)
class Share:
    """Whose studies they are, and how they came."""

    name: str = ""
    """Of the caller."""
    bulk: bool = False
    """They are streamed: nobody waits for one of the answers, and those of whom somebody waits go first."""


NOBODY = Share()


class Shared(Protocol):
    """What waits."""

    @property
    def share(self) -> Share:
        """Whose it is."""
        ...


_T = TypeVar("_T", bound=Shared)


class Turns(Generic[_T]):
    """A queue of queues."""

    def __init__(self) -> None:
        self._again: deque[_T] = deque()  # taken before, and first of all
        self._queues: tuple[dict[Share, deque[_T]], dict[Share, deque[_T]]] = (
            {},
            {},
        )  # asked and bulk; whose turn is next first
        self._counts = [0, 0]
        self._since_bulk = 0

    def __len__(self) -> int:
        return len(self._again) + sum(self._counts)

    @property
    def bulk(self) -> int:
        """Items of streams."""
        return self._counts[True]

    @property
    def shares(self) -> set[Share]:
        """Those that have items."""
        return set().union(*self._queues)

    def others(self, share: Share) -> int:
        """Shares that have items, but for this one."""
        return sum(len(queues) for queues in self._queues) - (share in self._queues[share.bulk])

    def queue(self, share: Share) -> Collection[_T]:
        """Items of a share, in their order."""
        return self._queues[share.bulk].get(share, ())

    def before(self, share: Share, count: int) -> int:
        """Items that will be taken before the last of `count` new ones of a share."""
        mine = len(self.queue(share)) + count
        same = sum(min(len(queue), mine) for other, queue in self._queues[share.bulk].items() if other != share)
        ahead = len(self._again) + mine - count + same
        others = self._counts[not share.bulk]
        return ahead + (others if share.bulk else min(others, (ahead + count) // (BULK_TURN - 1)))

    def append(self, item: _T) -> None:
        """Behind the others of its share."""
        self._queues[item.share.bulk].setdefault(item.share, deque()).append(item)
        self._counts[item.share.bulk] += 1

    def put_back(self, items: Sequence[_T]) -> None:
        """Before all others, in their order."""
        self._again.extendleft(reversed(items))

    def first(self) -> _T:
        """The one whose turn it is; there has to be one."""
        return self._again[0] if self._again else next(iter(self._queues[self._turn()].values()))[0]

    def pop(self) -> _T:
        """Take it."""
        if self._again:
            return self._again.popleft()
        bulk = self._turn()
        self._since_bulk = 0 if bulk else self._since_bulk + 1
        queues = self._queues[bulk]
        share = next(iter(queues))
        queue = queues.pop(share)
        item = queue.popleft()
        if queue:
            queues[share] = queue  # behind the other shares
        self._counts[bulk] -= 1
        return item

    def _turn(self) -> bool:
        if self._counts[False] and self._counts[True]:
            return self._since_bulk >= BULK_TURN - 1
        return not self._counts[False]

    def drop(self, unwanted: Callable[[_T], bool]) -> list[_T]:
        """Take out all that are unwanted."""
        kept = [item for item in self._again if not unwanted(item)]
        dropped = [item for item in self._again if unwanted(item)]
        self._again = deque(kept)
        for bulk, queues in enumerate(self._queues):
            for share, queue in list(queues.items()):
                gone = [item for item in queue if unwanted(item)]
                if not gone:
                    continue
                dropped += gone
                self._counts[bulk] -= len(gone)
                left = deque(item for item in queue if not unwanted(item))
                if left:
                    queues[share] = left
                else:
                    del queues[share]
        return dropped
