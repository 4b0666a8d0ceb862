"""One camera: what was counted of it in each week, and what it is compared with. Holds counts and sums, no photograph's.

It is compared with its own photographs so far, which tell what a clinic has to mend, and with those that the bundle was judged
on, which tell whether the bundle's figures can be expected here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal_runtime.drift.signals import NAMES, SIGNALS, Reading
from foveal_runtime.drift.watch import Change, Watch, dense

if TYPE_CHECKING:
    from datetime import datetime

    from foveal_runtime.bundle.calibration import HeldOutPhotographs

OWN, BUNDLE = "own", "bundle"
"""References: the camera's own photographs so far; those that the bundle was judged on."""
ALL = "all"
"""Name of the camera where nothing tells any."""
WEEKS = 104
"""That are kept."""
_GRADES = 5
_OF_CAMERA = tuple(signal.name for signal in SIGNALS if signal.of_camera)
_OF_MODEL = tuple(signal.name for signal in SIGNALS if signal.of_model)


@dataclass(kw_only=True, slots=True)
class Week:
    """Counts of one camera in one week."""

    photographs: int = 0
    quality: dict[str, int] = field(default_factory=dict)
    """By verdict."""
    grades: list[int] = field(default_factory=lambda: [0] * _GRADES)
    """By likeliest ICDR grade."""
    missing: dict[str, int] = field(default_factory=dict)
    """By field of the record."""
    unlike_training: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    """Of the bins of each signal."""
    counted: dict[str, int] = field(default_factory=dict)
    """Photographs that have the signal."""

    def add(self, reading: Reading) -> None:
        """Count a photograph."""
        self.photographs += 1
        _up(self.quality, reading.quality.name)
        if reading.grade is not None:
            self.grades[reading.grade] += 1
        for name in reading.missing:
            _up(self.missing, name)
        self.unlike_training += bool(reading.unlike_training)
        for name, step in zip(NAMES, reading.steps_S.tolist(), strict=True):
            if step >= 0:
                _up(self.sums, name, step)
                _up(self.counted, name)

    def mean(self, name: str) -> float | None:
        """Of a signal, to a bin's width; None where no photograph has it."""
        count = self.counted.get(name, 0)
        return SIGNALS[NAMES.index(name)].value(self.sums[name] / count) if count else None


def _up(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the numbers of a photograph depend on beside the photograph."""

    bundle_sha256: str
    gradability: str
    """Which check gives the verdicts, and its threshold."""
    held_out: HeldOutPhotographs | None = field(default=None, compare=False)
    """Photographs that the bundle was judged on; None where it does not say."""


class Stream:
    """See the module."""

    def __init__(self, camera: str, served: Served) -> None:
        self.camera = camera
        """Its name in metrics: nothing that a caller sent."""
        self.device = ""
        """As DICOM headers name it."""
        self.served = served
        self.weeks: dict[str, Week] = {}
        self.watches: dict[str, Watch] = {OWN: Watch()}
        self._of_bundle()

    def _of_bundle(self) -> None:
        held_out = self.served.held_out
        if held_out is None:
            self.watches.pop(BUNDLE, None)
        else:
            base_SB = dense(held_out.counts)
            there = [name for name in _OF_CAMERA if base_SB[NAMES.index(name)].any()]
            self.watches[BUNDLE] = Watch(there, base_SB)

    @property
    def photographs(self) -> int:
        """Counted in all weeks that are kept."""
        return sum(week.photographs for week in self.weeks.values())

    def begin_with(self, readings: Sequence[Reading]) -> None:
        """Take photographs into the camera's own reference without comparing them."""
        for reading in readings:
            self.watches[OWN].take(reading.steps_S)

    def add(self, reading: Reading, now: datetime, rng: np.random.Generator) -> list[tuple[str, Change]]:
        """Count and compare a photograph.

        Returns:
            Alarms that it started or ended, each with its reference.
        """
        year, number, _ = now.isocalendar()
        week = self.weeks.setdefault(f"{year}-W{number:02d}", Week())
        while len(self.weeks) > WEEKS:
            del self.weeks[min(self.weeks)]
        week.add(reading)
        self.device = reading.device or self.device
        photographs, at = self.photographs, now.isoformat(timespec="seconds")
        found = []
        for name, watch in self.watches.items():
            change = watch.add(reading.steps_S, rng.random(len(NAMES)), now=at, photographs=photographs)
            if change is not None:
                found.append((name, change))
        return found

    def serve(self, served: Served) -> None:
        """Go on with another bundle or another gradability check: what depends on it is counted anew."""
        old, self.served = self.served, served
        if old.bundle_sha256 != served.bundle_sha256:
            self.watches[OWN].renew(_OF_MODEL)
            self._of_bundle()
        if old.gradability != served.gradability:
            for watch in self.watches.values():
                watch.renew(("quality",))

    def document(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "camera": self.camera,
            "device": self.device,
            "bundle_sha256": self.served.bundle_sha256,
            "gradability": self.served.gradability,
            "weeks": {name: asdict(week) for name, week in sorted(self.weeks.items())},
            "references": {name: watch.document() for name, watch in self.watches.items()},
        }

    @classmethod
    def of(cls, document: Mapping[str, Any], held_out: HeldOutPhotographs | None = None) -> Stream:
        """From a document.

        Args:
            document: as `document` gives it.
            held_out: of the bundle that it names.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is none.
        """
        served = Served(
            bundle_sha256=str(document["bundle_sha256"]), gradability=str(document["gradability"]), held_out=held_out
        )
        found = cls(str(document["camera"]), served)
        found.device = str(document["device"])
        found.weeks = {name: Week(**week) for name, week in document["weeks"].items()}
        for name, each in document["references"].items():
            found.watches.setdefault(name, Watch(_OF_CAMERA if name == BUNDLE else NAMES)).read(each)
        return found


def camera_of(device: str, caller: str) -> str:
    """The name of a camera: by its DICOM header, else by the token that it shows, else one for all.

    Of a header nothing but a hash: the name stands in metrics and in the log.
    """
    if device:
        return f"device:{device.rpartition('#')[2]}"
    return f"token:{caller}" if caller else ALL
