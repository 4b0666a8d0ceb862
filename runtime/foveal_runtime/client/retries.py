"""When a failed call is sent again: while the server is away or full, within the deadline. Sends nothing.

Every call of the interface can be repeated without harm (grading changes nothing, writes are by id). gRPC's own policy is
no use: it keeps 256 KiB of a call, less than a photograph, and heeds no RetryInfo.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from foveal_runtime.client.options import ClientOptions
from foveal_runtime.errors import FovealError, OverloadedError, UnavailableError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_UNKNOWN_S = 2.0
"""Patience with a server that has never answered: its address is more likely wrong."""


class Retries:
    """One client's calls."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self.reached = False
        """Whether the server has ever answered this client."""

    def begin(self) -> Attempts:
        """A new call."""
        return Attempts(self._options, self)


class Attempts:
    """One call: how long it may still take, and when it is sent again."""

    def __init__(
        self,
        options: ClientOptions,
        retries: Retries,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._options, self._retries, self._clock, self._chance = options, retries, clock, chance
        self._begun = clock()
        self._next_pause_s = _FIRST_PAUSE_S

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(self._begun + self._options.timeout_s - self._clock(), 0.001)

    def pause_s(self, failure: FovealError) -> float | None:
        """Seconds to wait before the call is sent again; None when it has failed for good.

        The server's RetryInfo is a least: up to a quarter more is waited, so that refused callers do not all come back at once.
        """
        if not isinstance(failure, OverloadedError | UnavailableError):
            return None
        if failure.retry_after_s > 0:
            self._retries.reached = True
        patience_s = self._options.retry_s if self._retries.reached else min(self._options.retry_s, _UNKNOWN_S)
        pause_s = max(failure.retry_after_s, self._next_pause_s) * (1 + self._chance() / 4)
        self._next_pause_s = min(2 * self._next_pause_s, _LONGEST_PAUSE_S)
        passed_s = self._clock() - self._begun + pause_s
        return pause_s if passed_s < patience_s and passed_s < self._options.timeout_s else None
