"""Does a probability mean what it says: expected calibration error and the bins of a reliability diagram. Fits nothing.

Shapes: R replicates, N studies, B bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_train.evaluation.intervals import Figure, Float, Resamples, divide, error_figure

BINS = 10
"""Of equal width over [0, 1]; 15, as in Guo et al. 2017, leaves too few studies a bin on a clinic's test set."""


def bin_of(probabilities_N: Float) -> npt.NDArray[np.int64]:
    """Bin of each probability: bin b holds (b / B, (b + 1) / B], the first one 0 as well."""
    return np.clip(np.ceil(probabilities_N * BINS).astype(np.int64) - 1, 0, BINS - 1)


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
    value = float(np.abs(gaps_NB.sum(0)).sum() / len(probabilities_N)) if len(probabilities_N) else float("nan")
    return error_figure(value, replicates, n=len(probabilities_N), patients=resamples.patients, undefined="no labelled study")
