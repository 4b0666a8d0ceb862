"""What calls came to: goodput, and times from the planned arrival. Sends nothing, and knows no clock.

A call's time runs from the moment at which it was due, not from that at which the caller got round to sending it: a server
that holds its callers up can't hide it (no coordinated omission). A call that was never answered rightly took for ever.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Came(StrEnum):
    """What a call came to."""

    RIGHT = "right"
    """Answered as foveal's own engine does."""
    WRONG = "wrong"
    """Answered otherwise."""
    REFUSED = "refused"
    """The server said no, or broke the connection."""
    LEFT = "left"
    """The caller's patience ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call; moments in seconds of one clock."""

    due_s: float
    """When it was planned to be sent."""
    sent_s: float
    """When it was."""
    ended_s: float
    """When its answer, its refusal or the end of its caller's patience came."""
    came: Came
    code: str
    """The server's own word for it."""


def arrivals(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """Moments of a Poisson process from 0 on, ascending, all before `seconds`: the same for every server.

    Args:
        rate_per_s: mean number a second.
        seconds: until when.
        seed: of the draw.
    """
    source, moments, at = random.Random(seed), list[float](), 0.0
    while (at := at + source.expovariate(rate_per_s)) < seconds:
        moments.append(at)
    return moments


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank: the least value that at least this share of them does not exceed; None without values.

    Args:
        values: in any order; infinity stands for what never came.
        share: above 0 and at most 1.
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(calls: Sequence[Call], seconds: float, deadline_s: float) -> dict[str, Any]:
    """What a load of so many seconds came to.

    Args:
        calls: all of it.
        seconds: in which they were due; in a closed loop, in which they ended.
        deadline_s: from the planned arrival on, within which an answer is good; infinity takes every right one.

    Returns:
        Rates a second, and times in milliseconds; a time is None where so many calls were never answered rightly that it is
        longer than any caller waited.
    """
    took = [each.ended_s - each.due_s if each.came is Came.RIGHT else math.inf for each in calls]
    good = sum(each <= deadline_s and math.isfinite(each) for each in took)
    return {
        "offered_per_s": round(len(calls) / seconds, 3),
        "goodput_per_s": round(good / seconds, 3),
        "good_share": round(good / len(calls), 4) if calls else None,
        **{f"p{share}_ms": _ms(percentile(took, share / 100)) for share in (50, 95, 99)},
        "came": {kind.value: sum(each.came is kind for each in calls) for kind in Came},
        "refused": _refusals(calls),
        "sent_late_p99_ms": _ms(percentile([each.sent_s - each.due_s for each in calls], 0.99)),
    }


def _refusals(calls: Sequence[Call]) -> dict[str, dict[str, Any]]:
    """How often each refusal came, and how quickly after it was sent."""
    took: dict[str, list[float]] = {}
    for each in calls:
        if each.came is Came.REFUSED:
            took.setdefault(each.code, []).append(each.ended_s - each.sent_s)
    return {
        code: {"count": len(each), "p50_ms": _ms(percentile(each, 0.5)), "p99_ms": _ms(percentile(each, 0.99))}
        for code, each in took.items()
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else round(seconds * 1e3, 2)
