"""Processes of a server: which there are, the processor time and the memory that they took. Starts none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """What a process started itself; a list that is read while processes come and go may miss one."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, file.read_text().split())
    return sorted(found)


def processes_of(pid: int) -> list[int]:
    """A process and all that came of it."""
    return [pid, *(process for child in children(pid) for process in processes_of(child))]


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time of some processes so far; one that has ended meanwhile counts nothing."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Memory of a process and its children: sums of resident sizes, which count shared pages once for each process that maps
    them (some 50 MB of libraries), and of proportional ones, which count every page once."""
    rss = pss = 0
    for process in processes_of(pid):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))  # type: ignore[union-attr]
        pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))  # type: ignore[union-attr]
    return {"rss_mb": round(rss / 1024, 1), "pss_mb": round(pss / 1024, 1), "processes": len(processes_of(pid))}
