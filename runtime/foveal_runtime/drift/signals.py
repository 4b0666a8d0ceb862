"""What is watched of a photograph that is graded: numbers that need no label, each on a fixed grid. Compares nothing.

Shapes: S signals, in the order of `SIGNALS`; B bins of a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal_runtime.photo.quality import APPEARANCE, Quality
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.record import FEATURES
from foveal_runtime.study.study import Modality

if TYPE_CHECKING:
    from foveal_runtime.bundle.manifest import Manifest
    from foveal_runtime.engine.answers import Outcome
    from foveal_runtime.engine.grading import Grades

BINS = 512
GRID = 1
"""Which signals and bins these are; counts of another grid are not compared."""
NOTHING = -1
"""In place of a bin: the photograph has no such number."""

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One number of a photograph."""

    name: str
    text: str
    """In words."""
    low: float = 0.0
    high: float = float(BINS)
    """Of the grid: `BINS` equal steps; the outer ones hold what lies beyond."""
    of_camera: bool = True
    """Whether it is compared with the photographs that the bundle was judged on: grades and records depend on who comes."""
    of_model: bool = False
    """Whether it changes with the bundle."""

    def bin(self, value: float | None) -> int:
        """The step that a value lies in; `NOTHING` for None and what is not finite."""
        if value is None or not math.isfinite(value):
            return NOTHING
        return min(max(int((value - self.low) / (self.high - self.low) * BINS), 0), BINS - 1)

    def value(self, step: float) -> float:
        """The middle of a step, or of a mean of steps."""
        return self.low + (step + 0.5) * (self.high - self.low) / BINS if self.high != BINS else step


SIGNALS = (
    Signal(name="brightness", text="median of green within the field of view, 0 to 1", high=1.0),
    Signal(name="colour", text="red over green within the field of view, logarithmic", low=-2.0, high=4.0),
    Signal(name="sharpness", text="how much finest detail there is beside coarser, logarithmic", low=-4.0, high=4.0),
    Signal(name="evenness", text="light at the rim of the field of view over its mean", high=2.0),
    Signal(name="framing", text="share of the picture that is lit", high=1.0),
    Signal(name="quality", text="share that can't be graded"),
    Signal(
        name="image", text="distance from the training photographs, logarithmic", low=-4.0, high=4.0, of_model=True,
    ),
    Signal(name="grade", text="likeliest ICDR grade", of_camera=False, of_model=True),
    Signal(name="record", text="fields of the record that are known", of_camera=False),
)  # fmt: skip
NAMES = tuple(signal.name for signal in SIGNALS)
_OF_APPEARANCE = ("brightness", "colour", "sharpness", "evenness", "framing")
assert len(_OF_APPEARANCE) == len(APPEARANCE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What is counted of one photograph."""

    quality: Quality
    steps_S: Int64
    """Bin of each signal."""
    grade: int | None = None
    """Likeliest ICDR grade; None where the photograph can't be graded, or that head does not answer."""
    missing: tuple[str, ...] = ()
    """Fields of the record that are unknown; all of them without a record. Empty for bundles that take none."""
    unlike_training: bool | None = None
    device: str = ""
    """As a DICOM header names it; empty where it does not."""


def steps(
    *,
    quality: Quality,
    appearance: tuple[float, ...],
    novelty: float | None = None,
    grade: int | None = None,
    known: int | None = None,
) -> Int64:
    """The bins of a photograph, `[S]`.

    Args:
        quality: verdict on it.
        appearance: numbers of `photo.quality.APPEARANCE`; empty where none were taken.
        novelty: its distance from the training photographs, in units of the bundle's limit.
        grade: likeliest ICDR grade.
        known: fields of the record that are.
    """
    values: dict[str, float | None] = dict(zip(_OF_APPEARANCE, appearance, strict=False))
    values["quality"] = float(quality is not Quality.GRADABLE)
    values["image"] = None if novelty is None or novelty <= 0 else math.log(novelty)
    values["grade"], values["record"] = grade, known
    return np.array([signal.bin(values.get(signal.name)) for signal in SIGNALS], np.int64)


def reading_of(outcome: Outcome, grades: Grades | None, manifest: Manifest) -> Reading | None:
    """What is counted of an answer; None without a photograph.

    Args:
        outcome: of the engine.
        grades: what it was graded; None where the photograph can't be.
        manifest: of the bundle.
    """
    if outcome.quality is None:
        return None
    scheme = None if grades is None or not outcome.gradable else grades.schemes.get(ICDR)
    missing: tuple[str, ...] = ()
    known = None
    if Modality.STRUCTURED in manifest.graphs:
        missing = outcome.imputed if Modality.STRUCTURED in outcome.subset else FEATURES
        known = len(FEATURES) - len(missing)
    grade = None if scheme is None else scheme.grade
    found = steps(quality=outcome.quality, appearance=outcome.appearance, novelty=outcome.novelty, grade=grade, known=known)
    return Reading(
        quality=outcome.quality,
        steps_S=found,
        grade=grade,
        missing=missing,
        unlike_training=None if outcome.novelty is None else outcome.novelty > 1,
        device=outcome.device,
    )
