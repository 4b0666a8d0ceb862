"""Does a probability mean what it says: bins of a reliability diagram, and the expected calibration error. Fits nothing.

Shapes: N studies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BINS = 10
"""Of equal width over [0, 1]; 15, as in Guo et al. 2017, leaves too few studies a bin on a clinic's test set."""

Float64 = npt.NDArray[np.float64]


def bin_of(probabilities_N: Float64) -> npt.NDArray[np.int64]:
    """Bin of each probability: bin b holds (b / B, (b + 1) / B], the first one 0 as well."""
    return np.clip(np.ceil(probabilities_N * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(probabilities_N: Float64, true_N: npt.NDArray[np.bool_]) -> float:
    """Mean gap between probability and frequency over bins, weighted by their studies (Guo et al. 2017); NaN of no study."""
    if not len(probabilities_N):
        return float("nan")
    gaps_B = np.bincount(bin_of(probabilities_N), weights=probabilities_N - true_N, minlength=BINS)
    return float(np.abs(gaps_B).sum() / len(probabilities_N))
