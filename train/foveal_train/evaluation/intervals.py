"""Bootstrap intervals that resample patients, never images, for any figure that is a function of weighted rows. No metric here.

Two eyes of a patient, or two photographs of an eye, are not independent: an interval that resamples images is too narrow.
A replicate is a row of integer weights (how often each study occurs in it), so that every metric computes all its
replicates in one matrix product. Shapes: R replicates, N studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
"""Counts up to a few thousand: exact in float32, at half the memory."""
Figure = dict[str, Any]
"""`value` (None when undefined), `interval` [low, high] or None, `n`, and a `reason` wherever something is None."""

LEVEL = 0.95
MIN_PATIENTS = 10
"""Below this many patients a percentile of resampled patients says more of the resampling than of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """Studies with their bootstrap replicates."""

    weights_RN: Weights
    patients_N: npt.NDArray[np.int64]
    """Number of the patient of each study."""

    def __len__(self) -> int:
        return int(self.patients_N.size)

    @property
    def patients(self) -> int:
        """Distinct patients."""
        return int(np.unique(self.patients_N).size)

    def at(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Resamples:
        """The same replicates, seen at some rows only; rows may repeat."""
        return Resamples(weights_RN=self.weights_RN[:, rows], patients_N=self.patients_N[rows])

    def sums(self, values_NK: npt.NDArray[Any]) -> Float:
        """Weighted column sums of each replicate, `[R, K]`."""
        return np.asarray(self.weights_RN @ values_NK.astype(np.float32), np.float64)


def resample(patients: Sequence[str], *, count: int, seed: int) -> Resamples:
    """Draw `count` replicates of the patients, with replacement.

    Args:
        patients: the patient of each study.
        count: replicates; 0 gives figures without intervals.
        seed: of the draw.
    """
    names, patients_N = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    draws = np.zeros((0, max(1, names.size)), np.int64)
    if count and names.size:
        draws = np.random.default_rng(seed).multinomial(names.size, np.full(names.size, 1 / names.size), size=count)
    return Resamples(weights_RN=draws.astype(np.float32)[:, patients_N], patients_N=patients_N.astype(np.int64))


def divide(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Float:
    """Quotient with NaN where the denominator is 0: an absent class has no recall."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def figure(
    value: float, replicates_R: Float, *, n: int, patients: int, undefined: str = "undefined for these studies"
) -> Figure:
    """A number with its percentile interval.

    Args:
        value: on the studies themselves; NaN when undefined.
        replicates_R: the same number of each replicate; NaN ones (a class did not occur) are left out.
        n: studies it rests on.
        patients: patients it rests on.
        undefined: reason given when `value` is NaN.
    """
    if not np.isfinite(value):
        return {"value": None, "interval": None, "n": n, "reason": undefined}
    low, high, reason = _percentiles(replicates_R, patients)
    if value == 1 and low == high == 1:
        # A perfect score stays perfect however its studies are drawn: [1, 1] would claim certainty.
        low, high, reason = None, None, "perfect on these studies: resampling them can't show how far it could fall"
    found: Figure = {"value": float(value), "interval": None if low is None else [low, high], "n": n}
    return {**found, "reason": reason} if reason else found


def proportion(value: float, replicates_R: Float, *, n: int, patients: int, undefined: str) -> Figure:
    """`figure` for a share of studies.

    When every or no study counts, each replicate says the same and a percentile would claim certainty; the interval then
    is Clopper and Pearson's exact one on the number of patients.
    """
    found = figure(value, replicates_R, n=n, patients=patients, undefined=undefined)
    if value in (0.0, 1.0) and patients and replicates_R.size:
        # At 0 or n successes the exact bounds have this closed form.
        bound = ((1 - LEVEL) / 2) ** (1 / patients)
        interval = [bound, 1.0] if value == 1.0 else [0.0, 1 - bound]
        return {"value": float(value), "interval": interval, "n": n, "method": "Clopper-Pearson on patients"}
    return found


def error_figure(value: float, replicates_R: Float, *, n: int, patients: int, undefined: str) -> Figure:
    """`figure` for an expected calibration error, with the basic (reversed percentile) interval.

    A sum of absolute gaps grows with noise, so replicates lie above the value and a percentile interval can exclude it;
    reversing takes the same bias off again.
    """
    found = figure(value, replicates_R, n=n, patients=patients, undefined=undefined)
    if found["interval"] is not None:
        low, high = found["interval"]
        found["interval"] = [float(np.clip(2 * value - high, 0, value)), float(np.clip(2 * value - low, value, 1))]
    return found


def _percentiles(replicates_R: Float, patients: int) -> tuple[float | None, float | None, str]:
    finite = replicates_R[np.isfinite(replicates_R)]
    if patients < MIN_PATIENTS:
        return None, None, f"{patients} patients are too few for an interval (at least {MIN_PATIENTS})"
    if finite.size < 2:
        return None, None, "no bootstrap replicates"
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high), ""
