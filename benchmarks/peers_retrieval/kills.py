"""What kill -9 leaves of a peer: a writer that acknowledges batches is killed mid-load, and the same folder is opened again."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lines import ChildError
from peers_retrieval.neighbours import Left, left
from peers_retrieval.process import PeerProcess

_ACKNOWLEDGED = 3
"""Batches before each kill."""
_LATER_S = 0.3


def kill_rounds(
    start: Callable[[Path], PeerProcess],
    folder: Path,
    *,
    vectors: Path,
    facts: Path,
    kills: int,
    before: int,
    batch: int,
    rng: random.Random,
) -> dict[str, Any]:
    """Kill so often. Rows that were acknowledged stay for the next round; a folder that was damaged is put aside for a new one.

    Args:
        start: begins the peer's process on a folder.
        folder: empty; data is left in it.
        vectors: file of vectors, sent again from the first one on in a new folder.
        facts: file of their facts.
        kills: how often.
        before: rows that a new folder holds before the writer begins, or what it writes would be small.
        batch: rows of one write.
        rng: draws the moments.

    Returns:
        `survives`: it opened each time and nothing acknowledged was lost, doubled or added; `rounds`.
    """
    rows = len(np.load(vectors, mmap_mode="r"))
    first, place, rounds = 0, 0, []
    for _ in range(kills):
        if rows - first < (_ACKNOWLEDGED + 1) * batch:
            first, place = 0, place + 1
        data = folder / str(place)
        if first == 0:
            with start(data) as process:
                process.ask("open")
                process.ask("load", vectors=str(vectors), facts=str(facts), first=0, count=before, batch=10_000, save=False)
                process.ask("build")
            first = before
        acknowledged = load_and_kill(start(data), str(vectors), str(facts), first, rows - first, batch, rng)
        one, counted = reopened(start(data), folder / "ids.npy", acknowledged=acknowledged, batch=batch, sent=rows)
        rounds.append(one)
        if counted is None or counted.lost or counted.doubled or counted.torn or counted.beyond:
            shutil.rmtree(data)
            first, place = 0, place + 1
        else:
            first = counted.found
    return {**summary(rounds), "rounds": rounds}


def load_and_kill(
    process: PeerProcess, vectors: str, facts: str, first: int, count: int, batch: int, rng: random.Random
) -> int:
    """Rows that were acknowledged when the process died in the middle of its load."""
    acknowledged: int = first
    seen = 0
    try:
        process.ask("open")
        process.send("load", vectors=vectors, facts=facts, first=first, count=count, batch=batch, save=True)
        while seen < _ACKNOWLEDGED and (answer := process.receive()) is not None:
            if "error" in answer:
                raise ChildError(f"{process.name}, load: {answer['error']}")
            acknowledged, seen = answer.get("acknowledged", acknowledged), seen + 1
        time.sleep(rng.uniform(0, _LATER_S))
    finally:
        late = process.kill()
    return max([acknowledged, *(int(answer.get("acknowledged", 0)) for answer in late)])


def reopened(
    process: PeerProcess, out: Path, *, acknowledged: int, batch: int, sent: int
) -> tuple[dict[str, Any], Left | None]:
    """What the folder holds; None when it does not open or can't be read."""
    with process:
        try:
            seconds = process.ask("open")["seconds"]
            process.ask("ids", out=str(out))
        except ChildError as error:
            return {"acknowledged": acknowledged, "opened": False, "error": str(error)[:300]}, None
    counted = left(np.load(out), acknowledged=acknowledged, batch=batch, sent=sent)
    return {"opened": True, "open_s": round(seconds, 2), **asdict(counted)}, counted


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all kills. What a folder that does not open held is lost."""
    opened = [one for one in rounds if one["opened"]]
    lost = sum(one["lost"] if one["opened"] else one["acknowledged"] for one in rounds)
    found = {name: sum(one[name] for one in opened) for name in ("doubled", "torn", "beyond")}
    return {
        "kills": len(rounds),
        "opened": len(opened),
        "acknowledged": sum(one["acknowledged"] for one in rounds),
        "lost": lost,
        **found,
        "open_s_most": max((one["open_s"] for one in opened), default=None),
        "survives": len(opened) == len(rounds) > 0 and not (lost or found["doubled"] or found["beyond"]),
    }
