"""What turns a bundle's raw logits into probabilities, grade sets and referrals, and what it was fitted on. Fits nothing.

Shapes: B studies, G grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from foveal_runtime.study.labels import MAX_CLASSES, Head, softmax

Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
Bias = Annotated[tuple[Annotated[float, Field(ge=-100, le=100)], ...], Field(min_length=2, max_length=MAX_CLASSES)]


def calibrated(logits_BG: npt.ArrayLike, temperature: float = 1.0, bias_G: Sequence[float] = ()) -> npt.NDArray[np.float64]:
    """Probabilities of raw logits, along the last axis.

    Args:
        logits_BG: raw.
        temperature: divides what is left when the bias is added.
        bias_G: added first; empty adds nothing.
    """
    logits = np.asarray(logits_BG, np.float64)
    return softmax(logits + np.asarray(bias_G) if len(bias_G) else logits, temperature)


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class OperatingPoint(_Model):
    """A threshold on the calibrated probability of referable DR, with what it reached on validation data."""

    name: str
    threshold: float = Field(ge=0, le=1)
    sensitivity: float | None = None
    sensitivity_low: float | None = None
    """One-sided 95 % lower bound of the sensitivity over patients (Clopper and Pearson)."""
    specificity: float | None = None
    patients: int = 0
    """Validation patients with referable DR, over whom the bound is taken."""
    studies: int = 0
    """Labelled validation studies it was fitted on; 0 means the default threshold of 0.5, not fitted."""


class GradeSetRule(_Model):
    """When a grade is in the set of those that a study may have (`foveal_runtime.study.gradeset`)."""

    coverage: float = Field(gt=0, lt=1)
    """Share of studies whose grade is in their set, on average over calibrations on as many studies."""
    quantile: float = Field(ge=0, le=1)
    """Largest score of a grade in the set; 1 takes all grades in."""
    studies: NonNegativeInt
    """Labelled studies that it was fitted on."""


class SubsetCalibration(_Model):
    """What makes the logits of one modality subset readable as probabilities."""

    temperature: dict[Head, Temperature] = {}
    """Divides the logits before the softmax (Guo et al. 2017); fitted on validation data. 1.0 where absent."""
    bias: dict[Head, Bias] = {}
    """Added to the logits first: the prior of a site, which `foveal adapt` fits. Zeros where absent."""
    operating_points: tuple[OperatingPoint, ...] = ()
    """The first is the default one."""
    grade_set: GradeSetRule | None = None
    """Of the ICDR head; None where too few labelled studies were there to fit it, or in older bundles."""

    def probabilities(self, head: Head, logits_BG: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Calibrated probabilities of raw logits, along the last axis."""
        return calibrated(logits_BG, self.temperature.get(head, 1.0), self.bias.get(head, ()))


LEAST_OCCLUDED = 8
"""Photographs below which no evidence map is shown."""


class Novelty(_Model):
    """How far photographs lie from those that the model was trained on; `foveal_runtime.engine.novelty` reads it."""

    file: str
    """Of the bundle: the training photographs' mean and spread."""
    limit: float = Field(gt=0, le=1e6)
    """Distance beyond which a photograph is unlike them: as far as one in a hundred of `studies`."""
    studies: NonNegativeInt
    """Photographs that the limit was fitted on, which nobody trained on."""


class Occlusion(_Model):
    """How faithful evidence maps are on held-out photographs that the bundle refers (`foveal_runtime.engine.occlusion`)."""

    studies: NonNegativeInt
    """Photographs that were looked at."""
    drop: float
    """Mean loss of the probability of referable retinopathy when the tenth that the map marks is smoothed away, less the loss
    for a random tenth."""
    drop_low: float
    """Lower end of its 95 % interval, by bootstrap over photographs."""

    @property
    def is_proven(self) -> bool:
        """Whether maps may be shown: what they mark matters more to the model than what they don't."""
        return self.studies >= LEAST_OCCLUDED and self.drop_low > 0


class HeldOutPhotographs(_Model):
    """What the photographs that a bundle was judged on look like; `foveal_runtime.drift` compares a camera's with them."""

    grid: NonNegativeInt
    """Which signals and bins (`drift.signals.GRID`); another one is not compared."""
    photographs: NonNegativeInt
    """That nobody trained on."""
    counts: dict[str, dict[Annotated[str, Field(pattern=r"^[0-9]{1,4}$")], NonNegativeInt]]
    """How many lie in each bin of each signal."""


class Adapted(_Model):
    """What a site's own labelled studies changed, and how that did on studies that no fit saw."""

    site: str = Field(max_length=200)
    """As its operator calls it."""
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the bundle that was adapted."""
    figures: dict[str, dict[str, Any]]
    """By adapted modality subset (docs/trust.md)."""
