"""Does a probability mean what it says: expected calibration error and the bins of a reliability diagram. Fits nothing.

Shapes: R replicates, N studies, B bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.engine.reliability import BINS, bin_of
from foveal_runtime.engine.reliability import calibration_error as reliability_error
from foveal_train.evaluation.intervals import Figure, Float, Resamples, divide, error_figure


def reliability(probabilities_N: Float, true_N: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The bins that hold studies: how sure the model was on average, and how often it happened."""
    rows = []
    bins_N = bin_of(probabilities_N)
    for b in range(BINS):
        here = bins_N == b
        if here.any():
            rows.append(
                {
                    "from": b / BINS,
                    "to": (b + 1) / BINS,
                    "n": int(here.sum()),
                    "predicted": float(probabilities_N[here].mean()),
                    "observed": float(true_N[here].mean()),
                }
            )
    return rows


def calibration_error(probabilities_N: Float, true_N: npt.NDArray[np.bool_], resamples: Resamples) -> Figure:
    """Expected calibration error: mean gap between probability and frequency over bins, weighted by their studies."""
    cells_NB = np.eye(BINS, dtype=np.float32)[bin_of(probabilities_N)]
    gaps_NB = cells_NB * (probabilities_N - true_N)[:, None]
    replicates = divide(np.abs(resamples.sums(gaps_NB)).sum(1), resamples.sums(cells_NB).sum(1))
    value = reliability_error(probabilities_N, true_N)
    return error_figure(value, replicates, n=len(probabilities_N), patients=resamples.patients, undefined="no labelled study")
