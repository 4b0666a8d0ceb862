"""How long the latest calls took, for who looks at a server without Prometheus. Keeps no more than times."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SPAN_S = 60.0
_MOST = 4096
CALLS = frozenset({"Grade", "GradeExam", "Embed", "ModelInfer"})
"""Of one message, which grade or embed: a stream takes as long as its caller likes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latencies:
    """Of the calls within `SPAN_S`."""

    calls: int
    p50_ms: float | None
    """None where there were none."""
    p99_ms: float | None


class RecentCalls:
    """Of one server. Lives on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        clock: seconds.
        """
        self._clock = clock
        self._ended: deque[tuple[float, float]] = deque(maxlen=_MOST)

    def call_ended(self, method: str, outcome: str, seconds: float) -> None:
        """Keep the time of a call that was answered."""
        if outcome == "OK" and method in CALLS:
            self._ended.append((self._clock(), seconds))

    def latencies(self) -> Latencies:
        """Of the latest, now."""
        since = self._clock() - SPAN_S
        while self._ended and self._ended[0][0] < since:
            self._ended.popleft()
        took = sorted(seconds for _, seconds in self._ended)
        if not took:
            return Latencies(calls=0, p50_ms=None, p99_ms=None)
        p50_ms, p99_ms = (1e3 * took[math.ceil(share * len(took) / 100) - 1] for share in (50, 99))
        return Latencies(calls=len(took), p50_ms=p50_ms, p99_ms=p99_ms)
