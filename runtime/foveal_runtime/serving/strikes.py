"""Which studies killed or hung a worker, and whose they were. Remembers hashes and callers' names alone, so many at most."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from foveal_runtime.errors import OverloadedError, PoisonError

_TO_REFUSE = 2
_MAX_KEPT = 10_000


class Strikes:
    """In company a study is only suspected and runs alone from then on; alone it is known. With two strikes it is refused."""

    def __init__(self) -> None:
        self._count: OrderedDict[bytes, int] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._count)

    def suspect(self, key: bytes) -> bool:
        """Whether the study has to be run alone."""
        return self._count.get(key, 0) > 0

    def refused(self, key: bytes) -> bool:
        """Whether the study may not be run again."""
        return self._count.get(key, 0) >= _TO_REFUSE

    def lost(self, keys: Sequence[bytes]) -> None:
        """A worker was lost over these studies."""
        for key in keys:
            before = self._count.get(key, 0)
            self._remember(key, before + 1 if len(keys) == 1 else max(before, 1))

    def condemn(self, key: bytes) -> None:
        """It was seen to be this one alone: once is enough."""
        self._remember(key, _TO_REFUSE)

    def _remember(self, key: bytes, strikes: int) -> None:
        self._count[key] = strikes
        self._count.move_to_end(key)
        if len(self._count) > _MAX_KEPT:
            self._count.popitem(last=False)

    def forgive(self, key: bytes) -> None:
        """The study was run, and the worker lives."""
        self._count.pop(key, None)


class CallerStrikes:
    """Whose photographs ended workers lately: with `limit` of them in `window_s`, a caller's new ones are refused for a while.

    A photograph is easily made into another one; who sends it stays the same.
    """

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        limit: workers that one caller's photographs may cost; 0 is no limit.
        window_s: within which they are counted.
        clock: in seconds.
        """
        self._limit, self._window_s, self._clock = limit, window_s, clock
        self._lost_at: OrderedDict[str, deque[float]] = OrderedDict()

    def lost(self, caller: str) -> OverloadedError | None:
        """A worker was lost over a photograph of this caller; one without a name is the server itself.

        Returns:
            See `refusal`.
        """
        if not self._limit or not caller:
            return None
        self._lost_at.setdefault(caller, deque(maxlen=self._limit)).append(self._clock())
        self._lost_at.move_to_end(caller)
        if len(self._lost_at) > _MAX_KEPT:
            self._lost_at.popitem(last=False)
        return self.refusal(caller)

    def refusal(self, caller: str) -> OverloadedError | None:
        """What this caller's photographs are refused with now; None where they are let in."""
        lost_at = self._lost_at.get(caller)
        if lost_at is None or len(lost_at) < self._limit:
            return None
        left_s = lost_at[0] + self._window_s - self._clock()
        if left_s <= 0:
            return None
        return OverloadedError(
            f"photographs of this caller ended {self._limit} workers within {self._window_s:g} s, and no more may; leave out "
            f"those that were answered with an error, and send again in {left_s:.0f} s",
            retry_after_s=left_s,
        )


def poison_error() -> PoisonError:
    """What a refused study is told."""
    return PoisonError("this study killed or hung its worker twice and is not run again; check its photograph, or leave it out")
