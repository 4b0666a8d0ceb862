"""One reference of one camera: photographs counted so far, the evidence against them, an alarm from its start to its end.

While there is no alarm every photograph joins the reference after it was compared, so that a reference needs no fit: it begins
with what it was given (the photographs that a bundle was judged on, or none) and grows with the camera's own. An alarm stops
that, takes the latest photographs out again, and compares with the rest until nothing is found any more.

Shapes: see `evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.drift.evidence import Evidence, Float64, Int64, limit, places
from foveal_runtime.drift.signals import BINS, NAMES

QUIET = 200
"""Photographs without evidence after which an alarm ends."""
LATEST = 100
"""Photographs; up to twice as many before an alarm are taken for changed already."""
_LEAST = 50
"""Photographs of a reference below which none are taken out of it."""
_STILL = 1e-3
"""Of what raises an alarm, the evidence that keeps one up."""

Bool = npt.NDArray[np.bool_]


@dataclass(kw_only=True, slots=True)
class Alarm:
    """A change that was told and is not over."""

    since: str
    """When it was told, UTC."""
    photographs: int
    """Of the camera by then."""
    signals: list[str]
    """Those that told it, the first first."""
    quiet: int = 0
    """Photographs since anything was last found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """An alarm that started or ended."""

    started: bool
    alarm: Alarm


class Watch:
    """See the module."""

    def __init__(self, signals: Sequence[str] = NAMES, base_SB: Int64 | None = None) -> None:
        """Args:
        signals: those that are compared.
        base_SB: photographs that the reference begins with.
        """
        self.mask_S: Bool = np.array([name in signals for name in NAMES])
        self._limit = limit(max(int(self.mask_S.sum()), 1))
        self._counts_SB: Int64 = np.zeros((len(NAMES), BINS), np.int64) if base_SB is None else base_SB.copy()
        self._latest_SB, self._before_SB = np.zeros_like(self._counts_SB), np.zeros_like(self._counts_SB)
        self._latest = 0
        self._evidence = Evidence(len(NAMES))
        self.alarm: Alarm | None = None

    @property
    def photographs(self) -> int:
        """In the reference."""
        return int(self._counts_SB.sum(axis=1).max())

    @property
    def share_of_limit(self) -> dict[str, float]:
        """By signal that is compared: its evidence over that which raises an alarm, as logarithms; 1 raises one."""
        levels = np.maximum(self._evidence.levels, 0.0) / self._limit
        alarmed = self.alarm.signals if self.alarm else ()
        return {name: 1.0 if name in alarmed else float(min(levels[i], 1.0)) for i, name in enumerate(NAMES) if self.mask_S[i]}

    def add(self, steps_S: Int64, draws_S: Float64, *, now: str, photographs: int) -> Change | None:
        """Compare a photograph, and count it.

        Args:
            steps_S: its bins.
            draws_S: uniform random numbers.
            now: UTC.
            photographs: of the camera, with this one.

        Returns:
            What it changed: an alarm's start or end.
        """
        there_S = self.mask_S & (steps_S >= 0)
        self._evidence.add(places(self._counts_SB, steps_S, draws_S), there_S)
        if self.alarm is not None:
            return self._go_on(self.alarm)
        self._count(steps_S, there_S)
        found = np.flatnonzero(there_S & (self._evidence.levels >= self._limit))
        if not found.size:
            return None
        order = sorted(found, key=lambda i: -self._evidence.levels[i])
        self.alarm = Alarm(since=now, photographs=photographs, signals=[NAMES[i] for i in order])
        self._take_out_latest()
        self._evidence.clear()
        return Change(started=True, alarm=self.alarm)

    def take(self, steps_S: Int64) -> None:
        """Count a photograph in the reference without comparing it."""
        rows = np.flatnonzero(self.mask_S & (steps_S >= 0))
        self._counts_SB[rows, steps_S[rows]] += 1

    def _go_on(self, alarm: Alarm) -> Change | None:
        found = np.flatnonzero(self._evidence.levels >= self._limit + np.log(_STILL))
        alarm.quiet += 1
        if found.size:
            alarm.quiet = 0
            alarm.signals += [NAMES[i] for i in found if NAMES[i] not in alarm.signals]
            self._evidence.clear()
        if alarm.quiet < QUIET:
            return None
        self.alarm = None
        self._evidence.clear()
        return Change(started=False, alarm=alarm)

    def _count(self, steps_S: Int64, there_S: Bool) -> None:
        rows = np.flatnonzero(there_S)
        if self._latest == LATEST:
            self._before_SB, self._latest_SB, self._latest = self._latest_SB, np.zeros_like(self._counts_SB), 0
        for counts_SB in (self._counts_SB, self._latest_SB):
            counts_SB[rows, steps_S[rows]] += 1
        self._latest += 1

    def _take_out_latest(self) -> None:
        for part_SB in (self._latest_SB, self._before_SB):
            left_SB = self._counts_SB - part_SB
            if left_SB.sum(axis=1).max() >= _LEAST:
                self._counts_SB = left_SB
        self._latest_SB, self._before_SB, self._latest = np.zeros_like(left_SB), np.zeros_like(left_SB), 0

    def renew(self, signals: Sequence[str]) -> None:
        """Forget what was counted of some signals: they mean something else from now on."""
        chosen = np.array([name in signals for name in NAMES])
        for counts_SB in (self._counts_SB, self._latest_SB, self._before_SB):
            counts_SB[chosen] = 0
        self._evidence.clear(chosen)

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "counts": sparse(self._counts_SB),
            "latest": sparse(self._latest_SB),
            "before": sparse(self._before_SB),
            "latest_photographs": self._latest,
            "evidence": {
                name: [None if np.isneginf(each) else round(float(each), 6) for each in self._evidence.logs_KS[:, i]]
                for i, name in enumerate(NAMES)
            },
            "alarm": None if self.alarm is None else asdict(self.alarm),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Go on from a document.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        self._counts_SB, self._latest_SB, self._before_SB = (dense(document[n]) for n in ("counts", "latest", "before"))
        self._latest = int(document["latest_photographs"])
        for i, name in enumerate(NAMES):
            logs = document["evidence"].get(name)
            if logs is not None:
                self._evidence.logs_KS[:, i] = [-np.inf if each is None else float(each) for each in logs]
        self.alarm = None if document["alarm"] is None else Alarm(**document["alarm"])


def sparse(counts_SB: Int64) -> dict[str, dict[str, int]]:
    """Counts by signal and bin, without the empty ones."""
    return {
        name: {str(step): int(row_B[step]) for step in np.flatnonzero(row_B)}
        for name, row_B in zip(NAMES, counts_SB, strict=True)
        if row_B.any()
    }


def dense(document: Mapping[str, Mapping[str, int]]) -> Int64:
    """What `sparse` made a document of, `[S, B]`; signals that there are no more are left out.

    Raises:
        ValueError: a count is of no bin.
    """
    found_SB = np.zeros((len(NAMES), BINS), np.int64)
    for i, name in enumerate(NAMES):
        for step, count in document.get(name, {}).items():
            if not 0 <= int(step) < BINS or count < 0:
                raise ValueError("a count is of no bin")
            found_SB[i, int(step)] = count
    return found_SB


def counts_of(steps: Sequence[Int64]) -> Int64:
    """How many photographs lie in each bin, `[S, B]`."""
    found_SB = np.zeros((len(NAMES), BINS), np.int64)
    for steps_S in steps:
        rows = np.flatnonzero(steps_S >= 0)
        found_SB[rows, steps_S[rows]] += 1
    return found_SB
