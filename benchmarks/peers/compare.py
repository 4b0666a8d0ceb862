"""Turns to figures: medians, quartiles, and foveal against each peer and the best of them, turn by turn. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

FOVEAL = "foveal"
BEST = "best peer"
Turn = dict[str, dict[str, Any]]
"""What `measure` found, by server."""
Figure = Callable[[dict[str, Any]], float | None]
"""One number of one server in one turn; None where it has none."""


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Median, quartiles and range of those that there are, and how many there are not."""
    known = [each for each in values if each is not None]
    found: dict[str, Any] = {"missing": len(values) - len(known)}
    if not known:
        return {"median": None, **found}
    low, middle, high = statistics.quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
    rounded = {"quartiles": [round(low, 3), round(high, 3)], "range": [round(min(known), 3), round(max(known), 3)]}
    return {"median": round(middle, 3), **rounded, **found}


def ratios(turns: Sequence[Turn], figure: Figure, *, more_is_better: bool) -> dict[str, Any]:
    """foveal's figure over that of each peer, and of the best in each turn: a spread over turns.

    A turn in which either has none, or the peer's is 0, has no ratio: it counts as missing, never as a win.
    """
    peers = [name for name in turns[0] if name != FOVEAL]
    values: dict[str, list[float | None]] = {name: [] for name in (*peers, BEST)}
    for turn in turns:
        own = figure(turn[FOVEAL])
        theirs = {name: figure(turn[name]) for name in peers}
        known = [each for each in theirs.values() if each is not None]
        best = (max if more_is_better else min)(known) if known else None
        for name, other in (*theirs.items(), (BEST, best)):
            values[name].append(own / other if own is not None and other else None)
    return {name: spread(each) for name, each in values.items()}


def compared(turns: Sequence[Turn], main_px: int) -> dict[str, Any]:
    """All figures of all turns.

    Args:
        turns: at least one, all of the same servers.
        main_px: size of the photographs that every load was made of.
    """
    first = turns[0][FOVEAL]
    figures: dict[str, tuple[Figure, bool]] = {
        "start_s": (lambda found: found["start_s"], False),
        "memory_peak_mb": (lambda found: found["memory_peak_mb"], False),
        "idle_cores": (lambda found: found["idle_cores"], False),
        "work_done_for_callers_that_left": (lambda found: found["leaving"]["share_of_work_done"], False),
        "answers_after_overload_s": (lambda found: found["answers_after_overload_s"], False),
    }
    for size in first["open"]:
        figures[f"{size} px, closed, answers_per_s"] = (_closed(size, "goodput_per_s"), True)
        figures[f"{size} px, closed, cpu_ms_an_answer"] = (_closed(size, "cpu_ms_an_answer"), False)
        for load in first["open"][size]:
            name = f"{size} px, {load} %"
            figures[f"{name}, goodput_per_s"] = (_open(size, load, "goodput_per_s"), True)
            for what in ("p50_ms", "p99_ms", "cpu_ms_an_answer"):
                figures[f"{name}, {what}"] = (_open(size, load, what), False)
    return {
        "figures": {
            name: {server: spread([figure(turn[server]) for turn in turns]) for server in turns[0]}
            for name, (figure, _) in figures.items()
        },
        "foveal_over": {name: ratios(turns, figure, more_is_better=more) for name, (figure, more) in figures.items()},
        "overload": {server: overload(turns, server, str(main_px)) for server in turns[0]},
        "wrong_answers": {server: sum(wrong(turn[server]) for turn in turns) for server in turns[0]},
    }


def overload(turns: Sequence[Turn], server: str, size: str) -> dict[str, Any]:
    """What a server says at the highest load, how often and how quickly: summed over turns, times as medians of the turns'."""
    highest = max(turns[0][server]["open"][size], key=int)
    rows = [turn[server]["open"][size][highest] for turn in turns]
    codes = sorted({code for row in rows for code in row["refused"]})
    calls = sum(sum(row["came"].values()) for row in rows)
    refused = {}
    for code in codes:
        found = [row["refused"][code] for row in rows if code in row["refused"]]
        refused[code] = {
            "share": round(sum(each["count"] for each in found) / calls, 3),
            "p50_ms": statistics.median(each["p50_ms"] for each in found),
            "p99_ms": statistics.median(each["p99_ms"] for each in found),
        }
    left = sum(row["came"]["left"] for row in rows)
    return {"load_percent": int(highest), "refused": refused, "share_that_left": round(left / calls, 3)}


def wrong(found: dict[str, Any]) -> int:
    """Wrong answers of a server in a turn."""
    rows = [*found["closed"].values(), *(row for size in found["open"].values() for row in size.values())]
    return sum(row["came"]["wrong"] for row in rows)


def _closed(size: str, what: str) -> Figure:
    return lambda found: found["closed"][size][what]


def _open(size: str, load: str, what: str) -> Figure:
    return lambda found: found["open"][size][load][what]
