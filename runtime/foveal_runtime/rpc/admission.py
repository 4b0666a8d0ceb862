"""How many calls of one kind may be in work: more are refused at once, and told when to come back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from foveal_runtime.errors import OverloadedError

_NEWEST_SHARE = 0.2
"""Of the newest call in the running mean of their times."""


class Admission:
    """A counter with a limit. Lives on one event loop."""

    def __init__(self, what: str, limit: int, side_by_side: int) -> None:
        """Args:
        what: the calls, in words.
        limit: of calls in work, those included that wait for a connection.
        side_by_side: that are worked on at once.
        """
        self._what, self._limit, self._side_by_side = what, limit, side_by_side
        self._mean_s = 0.05
        self.in_work = 0

    def check(self) -> None:
        """Refuse one that would not be let in now.

        Raises:
            OverloadedError: as many as may be are in work.
        """
        if self.in_work >= self._limit:
            raise OverloadedError(
                f"{self.in_work} {self._what} are in work and {self._limit} may; send again later",
                retry_after_s=max(0.05, self._mean_s * self.in_work / self._side_by_side / 2),
            )

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be one of them.

        Raises:
            OverloadedError: as many as may be are in work.
        """
        self.check()
        self.in_work += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.in_work -= 1
            self._mean_s += _NEWEST_SHARE * (time.monotonic() - began - self._mean_s)
