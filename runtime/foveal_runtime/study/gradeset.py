"""Grade sets: the neighbouring grades that a study may have, by conformal prediction. Knows nothing of bundles; fits nothing.

The sets of one study are nested: the likeliest grade first, then whichever neighbour of those in it is likelier. A grade's
score is the probability of all that stand before it, so that a set holds the grades whose score stays within a quantile of the
scores that right grades had (adaptive prediction sets, Romano et al. 2020; grades side by side, Lu et al. 2022). The likeliest
grade scores 0 and is always in.

Shapes: N studies, G grades.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def set_scores(probabilities_NG: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Score of every grade `[N, G]`, from 0 for the likeliest to below 1."""
    probabilities = np.asarray(probabilities_NG, np.float64)
    count, grades = probabilities.shape
    row = np.arange(count)
    low = high = probabilities.argmax(1)
    scores = np.zeros((count, grades))
    total = probabilities[row, low].copy()
    padded = np.full((count, grades + 2), -1.0)
    padded[:, 1:-1] = probabilities
    for _ in range(grades - 1):
        down = padded[row, low] >= padded[row, high + 2]
        added = np.where(down, low - 1, high + 1)
        scores[row, added] = total
        total += probabilities[row, added]
        low, high = np.where(down, added, low), np.where(down, high, added)
    return scores


def grade_set(probabilities_G: npt.NDArray[np.floating[Any]], quantile: float) -> tuple[int, ...]:
    """Grades of one study, ascending.

    Args:
        probabilities_G: calibrated.
        quantile: largest score of a grade in the set.
    """
    # One study in plain numbers, as `set_scores` does many: for five of them NumPy takes seventy times as long.
    probabilities = np.asarray(probabilities_G, np.float64).tolist()
    low = high = probabilities.index(max(probabilities))
    total = probabilities[low]
    while high - low + 1 < len(probabilities) and total <= quantile:
        if high + 1 == len(probabilities) or (low and probabilities[low - 1] >= probabilities[high + 1]):
            low -= 1
            total += probabilities[low]
        else:
            high += 1
            total += probabilities[high]
    return tuple(range(low, high + 1))


def set_quantile(scores_N: npt.NDArray[np.float64], coverage: float) -> float:
    """The quantile at which a stranger's right grade is in its set with probability `coverage` (Vovk et al. 2005).

    Args:
        scores_N: of the right grade of each study of a calibration.
        coverage: wanted.

    Returns:
        1, which takes all grades in, where so few studies can't promise it.
    """
    rank = int(np.ceil((len(scores_N) + 1) * coverage))
    return 1.0 if rank > len(scores_N) else float(np.sort(scores_N)[rank - 1])
