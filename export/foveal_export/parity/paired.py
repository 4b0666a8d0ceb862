"""What an artefact loses against the labels, with an interval: both sides on the same resampled patients. Judges nothing.

The two sides answer the same studies, so nearly all of the noise is common to both and cancels in the difference: a loss whose
lower bound is above 0 is the artefact's, not chance's. Shapes: R replicates, N studies, G grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal_runtime.engine.reliability import BINS, bin_of
from foveal_train.evaluation.grading import confusion_matrix, confusion_replicates, quadratic_kappa
from foveal_train.evaluation.intervals import LEVEL, MIN_PATIENTS, Resamples, divide, resample

REPLICATES = 1000

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """One figure of both sides."""

    reference: float
    artefact: float
    loss: float
    """By how much the artefact is worse; negative where it is better."""
    low: float | None
    """Lower end of the 95 % interval of `loss`; None with too few patients to resample."""

    def exceeds(self, limit: float) -> bool:
        """Whether the loss is above the limit, and not by chance."""
        return self.loss > limit and self.low is not None and self.low > 0


def resamples_of(patients: Sequence[str]) -> Resamples:
    """The replicates that every figure of one subset shares."""
    return resample(patients, count=REPLICATES, seed=0)


def kappa_loss(truth_N: Int, reference_NG: Float, artefact_NG: Float, resamples: Resamples) -> Loss:
    """Of the quadratic-weighted kappa of the likeliest grade; 1 when neither side ever differs from one grade."""
    classes = reference_NG.shape[1]
    sides = [side.argmax(axis=1).astype(np.int64) for side in (reference_NG, artefact_NG)]
    before, after = (_whole(quadratic_kappa(confusion_matrix(truth_N, grade_N, classes))) for grade_N in sides)
    many = [quadratic_kappa(confusion_replicates(truth_N, grade_N, resamples, classes)) for grade_N in sides]
    return _loss(before, after, many[0] - many[1], resamples, sign=1)


def sensitivity_loss(positive_N: Bool, reference_N: Bool, artefact_N: Bool, resamples: Resamples) -> Loss:
    """Of the referral decisions; at least one study is positive."""
    columns = np.stack([reference_N & positive_N, artefact_N & positive_N, positive_N], axis=1)
    sums = resamples.sums(columns)
    before, after = columns[:, :2].sum(axis=0) / positive_N.sum()
    return _loss(float(before), float(after), divide(sums[:, 0] - sums[:, 1], sums[:, 2]), resamples, sign=1)


def calibration_loss(truth_N: Int, reference_NG: Float, artefact_NG: Float, resamples: Resamples) -> Loss:
    """Of the expected calibration error of the likeliest grade, over evaluation's bins."""
    before, many_before = _calibration(truth_N, reference_NG, resamples)
    after, many_after = _calibration(truth_N, artefact_NG, resamples)
    return _loss(before, after, many_after - many_before, resamples, sign=-1)


def _calibration(truth_N: Int, probability_NG: Float, resamples: Resamples) -> tuple[float, Float]:
    sure_N = probability_NG.max(axis=1)
    cells_NB = np.eye(BINS)[bin_of(sure_N)]
    gaps_NB = cells_NB * (sure_N - (probability_NG.argmax(axis=1) == truth_N))[:, None]
    replicates = divide(np.abs(resamples.sums(gaps_NB)).sum(1), resamples.sums(cells_NB).sum(1))
    return float(np.abs(gaps_NB.sum(0)).sum() / len(truth_N)), replicates


def _loss(before: float, after: float, losses_R: Float, resamples: Resamples, *, sign: int) -> Loss:
    finite = losses_R[np.isfinite(losses_R)]
    low = None
    if resamples.patients >= MIN_PATIENTS and finite.size:
        low = float(np.quantile(finite, (1 - LEVEL) / 2))
    return Loss(reference=before, artefact=after, loss=sign * (before - after), low=low)


def _whole(kappa: Float) -> float:
    value = float(kappa)
    return 1.0 if np.isnan(value) else value
