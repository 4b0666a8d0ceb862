"""Grading schemes and what is derived from them: heads, grade names, referable DR. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

GRADES = 5
"""Grades of both schemes, 0 to 4."""

MISSING = -1
"""Stands for an unknown grade where grades are in an array."""

REFERABLE_GRADE = 2
"""Referable DR is ICDR grade >= 2 (International Clinical Diabetic Retinopathy scale, Wilkinson et al. 2003)."""


class Head(StrEnum):
    """A classification head of the model."""

    ICDR = "icdr"
    """International Clinical Diabetic Retinopathy severity scale."""
    SDRG = "sdrg"
    """Scottish Diabetic Retinopathy Grading scheme, retinopathy levels R0 to R4."""


GRADE_NAMES: dict[Head, tuple[str, ...]] = {
    Head.ICDR: (
        "no apparent retinopathy",
        "mild non-proliferative retinopathy",
        "moderate non-proliferative retinopathy",
        "severe non-proliferative retinopathy",
        "proliferative retinopathy",
    ),
    Head.SDRG: (
        "R0: no retinopathy",
        "R1: mild background retinopathy",
        "R2: observable background retinopathy",
        "R3: referable background retinopathy",
        "R4: proliferative retinopathy",
    ),
}


def softmax(logits_BG: npt.NDArray[np.floating[Any]], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities of `logits_BG / temperature` along the last axis, computed in float64."""
    scaled = np.asarray(logits_BG, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    exp = np.exp(scaled)
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def referable_probability(probabilities_BG: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """P(ICDR grade >= 2) from ICDR probabilities, along the last axis."""
    return np.asarray(np.asarray(probabilities_BG, dtype=np.float64)[..., REFERABLE_GRADE:].sum(axis=-1))


def referral_score(probabilities_BG: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """What an operating point's threshold is held against (docs/decision-rule.md), along the last axis.

    P(ICDR grade >= 2), and 1 where the likeliest grade is 2 or worse: `score >= threshold` then refers when the probability
    reaches the threshold or the grade is referable by itself, whatever the threshold, so that no answer contradicts itself.
    """
    probabilities_BG = np.asarray(probabilities_BG, dtype=np.float64)
    graded = probabilities_BG.argmax(axis=-1) >= REFERABLE_GRADE
    return np.where(graded, 1.0, referable_probability(probabilities_BG))


def referral_log_odds(logits_BG: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Log odds of ICDR grade >= 2, uncalibrated, along the last axis: unlike a probability it tells strong answers apart."""
    logits_BG = np.asarray(logits_BG, dtype=np.float64)
    above, below = logits_BG[..., REFERABLE_GRADE:], logits_BG[..., :REFERABLE_GRADE]
    return np.asarray(np.logaddexp.reduce(above, axis=-1) - np.logaddexp.reduce(below, axis=-1))


def confusion_counts(first_N: npt.NDArray[np.int64], second_N: npt.NDArray[np.int64]) -> list[list[int]]:
    """Studies by the first grader's grade (row) and the second's (column)."""
    counts = np.zeros((GRADES, GRADES), np.int64)
    np.add.at(counts, (first_N, second_N), 1)
    found: list[list[int]] = counts.tolist()
    return found


def quadratic_kappa(confusion_GG: Sequence[Sequence[int]]) -> float | None:
    """Quadratic-weighted kappa of two graders (Cohen 1968); None where it is not defined.

    Args:
        confusion_GG: `confusion_counts`.
    """
    grades = range(len(confusion_GG))
    total = sum(map(sum, confusion_GG))
    rows, columns = [sum(row) for row in confusion_GG], [sum(column) for column in zip(*confusion_GG, strict=True)]
    apart = sum((i - j) ** 2 * confusion_GG[i][j] for i in grades for j in grades)
    by_chance = sum((i - j) ** 2 * rows[i] * columns[j] for i in grades for j in grades)
    return 1.0 - apart * total / by_chance if by_chance else None
