"""Referable DR (ICDR grade >= 2) as a yes-or-no question: AUROC, ROC curve, sensitivity and specificity. Fits no threshold.

Shapes: R replicates, N studies, U distinct scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.calibration import OperatingPoint
from foveal_train.evaluation.intervals import Float, Resamples, divide, figure, proportion

Bool = npt.NDArray[np.bool_]
_CURVE_POINTS = 200
"""Of the stored ROC curve; more can't be told apart in a plot."""


def auroc(scores_N: Float, positive_N: Bool, weights_RN: npt.NDArray[Any] | None = None) -> Float:
    """Area under the ROC curve of each row of weights, ties counted half (Mann and Whitney); NaN when a class is absent."""
    weights = np.ones((1, len(scores_N)), np.float32) if weights_RN is None else weights_RN
    order = np.argsort(scores_N, kind="stable")
    starts = np.flatnonzero(np.diff(scores_N[order], prepend=np.nan) != 0)
    if starts.size == 0:
        return np.full(len(weights), np.nan)
    positive_RU = np.add.reduceat(weights[:, order] * positive_N[order], starts, axis=1).astype(np.float64)
    negative_RU = np.add.reduceat(weights[:, order] * ~positive_N[order], starts, axis=1).astype(np.float64)
    below_RU = np.cumsum(negative_RU, axis=1) - negative_RU
    wins = (positive_RU * (below_RU + negative_RU / 2)).sum(1)
    return divide(wins, positive_RU.sum(1) * negative_RU.sum(1))


def macro_auroc(probabilities_NG: Float, labels_N: npt.NDArray[np.int64], weights_RN: npt.NDArray[Any] | None = None) -> Float:
    """Mean over the grades that occur of the AUROC of each against the others, of each row of weights.

    Published figures of foundation models (RETFound, DINOv2) on five grades are this one. NaN when fewer than two grades occur.

    Args:
        probabilities_NG: of the grades.
        labels_N: known grades.
        weights_RN: of replicates; None weighs every study once.
    """
    rows = 1 if weights_RN is None else len(weights_RN)
    there = np.unique(labels_N)
    if there.size < 2:
        return np.full(rows, np.nan)
    return np.asarray(np.mean([auroc(probabilities_NG[:, g], labels_N == g, weights_RN) for g in there], axis=0))


def roc_curve(scores_N: Float, positive_N: Bool) -> dict[str, list[float]]:
    """False and true positive rates as the threshold falls from above every score to below every score."""
    order = np.argsort(-scores_N, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores_N[order]) != 0), len(order) - 1)
    true = np.concatenate([[0.0], np.cumsum(positive_N[order])[ends] / positive_N.sum()])
    false = np.concatenate([[0.0], np.cumsum(~positive_N[order])[ends] / (~positive_N).sum()])
    if len(true) > _CURVE_POINTS:
        keep = np.unique(np.linspace(0, len(true) - 1, _CURVE_POINTS).round().astype(int))
        true, false = true[keep], false[keep]
    return {"false_positive_rate": false.round(6).tolist(), "true_positive_rate": true.round(6).tolist()}


def decision_figures(called_N: Bool, positive_N: Bool, resamples: Resamples) -> dict[str, Any]:
    """Sensitivity and specificity of decisions that were made."""
    sums = resamples.sums(np.stack([called_N & positive_N, positive_N, ~called_N & ~positive_N, ~positive_N], axis=1))
    found: dict[str, Any] = {}
    for name, right, of, column in (
        ("sensitivity", called_N, positive_N, 0),
        ("specificity", ~called_N, ~positive_N, 2),
    ):
        here = resamples.at(of)
        found[name] = proportion(
            float(divide((right & of).sum(), of.sum())),
            divide(sums[:, column], sums[:, column + 1]),
            n=int(of.sum()),
            patients=here.patients,
            undefined="no referable study" if name == "sensitivity" else "no study without referable DR",
        )
    return found


def referable_figures(
    scores_N: Float,
    positive_N: Bool,
    points: Sequence[Sequence[OperatingPoint]],
    resamples: Resamples,
    *,
    decided_by_N: Float | None = None,
) -> dict[str, Any]:
    """AUROC, curve and operating points.

    Args:
        scores_N: calibrated probability of referable DR.
        positive_N: whether ICDR >= 2.
        points: operating points of each study's own modality subset; points are matched by name.
        resamples: of the same studies.
        decided_by_N: what thresholds are held against (`referral_score`); needed with points.
    """
    both = bool(positive_N.any() and not positive_N.all())
    reason = "needs studies with and without referable DR"
    result: dict[str, Any] = {
        "n": len(positive_N),
        "positives": int(positive_N.sum()),
        "auroc": figure(
            float(auroc(scores_N, positive_N)[0]),
            auroc(scores_N, positive_N, resamples.weights_RN),
            n=len(positive_N),
            patients=resamples.patients,
            undefined=reason,
        ),
        "brier": figure(
            float(np.mean((scores_N - positive_N) ** 2)),
            divide(
                resamples.sums((scores_N - positive_N)[:, None] ** 2)[:, 0],
                resamples.sums(np.ones((len(positive_N), 1)))[:, 0],
            ),
            n=len(positive_N),
            patients=resamples.patients,
        ),
        "roc": roc_curve(scores_N, positive_N) if both else None,
        "operating_points": [],
    }
    names = list(dict.fromkeys(point.name for own in points for point in own))
    for name in names:
        own = [next((point for point in some if point.name == name), None) for some in points]
        rows = np.flatnonzero([point is not None for point in own])
        thresholds = np.asarray([point.threshold for point in own if point is not None])
        assert decided_by_N is not None
        referred_N = decided_by_N[rows] >= thresholds
        decided = decision_figures(referred_N, positive_N[rows], resamples.at(rows))
        result["operating_points"].append(
            {
                "name": name,
                "fitted": all(point.studies > 0 for point in own if point is not None),
                "threshold": float(thresholds[0]) if np.ptp(thresholds) == 0 else None,
                "thresholds": [float(thresholds.min()), float(thresholds.max())],
                "n": len(rows),
                "flagged": int(referred_N.sum()),
                **decided,
            }
        )
    return result
