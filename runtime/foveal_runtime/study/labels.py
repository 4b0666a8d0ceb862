"""Heads, their classes and what is derived from them: grades, referable DR. Knows nothing of models.

A head is data: a name and its classes, from the least to the most severe. Two are grading schemes that this project knows,
`ICDR` and `SDRG`; referral follows from the first alone. Findings that may occur together are heads of two classes each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

GRADES = 5
"""Grades of both `SCHEMES`, 0 to 4."""

MISSING = -1
"""Stands for an unknown class where classes are in an array."""

REFERABLE_GRADE = 2
"""Referable DR is ICDR grade >= 2 (International Clinical Diabetic Retinopathy scale, Wilkinson et al. 2003)."""


Head = str
"""Name of a classification head, as `HEAD_NAME` has it."""

ICDR: Head = "icdr"
"""International Clinical Diabetic Retinopathy severity scale."""
SDRG: Head = "sdrg"
"""Scottish Diabetic Retinopathy Grading scheme, retinopathy levels R0 to R4."""
SCHEMES: tuple[Head, ...] = (ICDR, SDRG)
"""Grading schemes of diabetic retinopathy, `GRADES` classes each."""
EDEMA, EDEMA_RISK = "edema", "edema_risk"
"""Macular edema, and IDRiD's risk of it."""

HEAD_NAME = re.compile("[a-z][a-z0-9_]{0,31}")
"""Of the whole name: names stand in files, graphs, metrics and messages."""
RESERVED_NAMES = frozenset({"joint", "cls"})
"""No heads: other outputs of the fusion graph are called so."""
MAX_HEADS, MAX_CLASSES = 64, 64
FINDING: tuple[str, ...] = ("absent", "present")
"""Classes of a finding."""

CLASSES: Mapping[Head, tuple[str, ...]] = MappingProxyType(
    {
        ICDR: (
            "no apparent retinopathy",
            "mild non-proliferative retinopathy",
            "moderate non-proliferative retinopathy",
            "severe non-proliferative retinopathy",
            "proliferative retinopathy",
        ),
        SDRG: (
            "R0: no retinopathy",
            "R1: mild background retinopathy",
            "R2: observable background retinopathy",
            "R3: referable background retinopathy",
            "R4: proliferative retinopathy",
        ),
        EDEMA: FINDING,
        EDEMA_RISK: (
            "no hard exudates",
            "hard exudates, none within a disc diameter of the macula's centre",
            "hard exudates within a disc diameter of the macula's centre",
        ),
    }
)
"""Of heads that are known by name."""
SCHEME_CLASSES: Mapping[Head, tuple[str, ...]] = MappingProxyType({head: CLASSES[head] for head in SCHEMES})
"""Heads of a model that names none."""


def is_referable(icdr: int | None) -> bool | None:
    """Whether an ICDR grade is referable; None of no grade."""
    return None if icdr is None else icdr >= REFERABLE_GRADE


def positive_from(head: Head) -> int:
    """Place of the class from which a study is positive: grade 2 of a grading scheme, the second class of another head."""
    return REFERABLE_GRADE if head in SCHEMES else 1


def check_heads(heads: Mapping[Head, Sequence[str]]) -> str:
    """What is wrong with heads and their classes; empty where nothing is."""
    for name, classes in heads.items():
        if not HEAD_NAME.fullmatch(name) or name in RESERVED_NAMES:
            return f"head {name!r} has no usable name; want a letter and up to 31 letters, digits and _, all lower case"
        if (
            not 2 <= len(classes) <= MAX_CLASSES
            or len(set(classes)) < len(classes)
            or not all(each.strip() for each in classes)
        ):
            return f"head {name} has not 2 to {MAX_CLASSES} classes whose names differ"
        if name in SCHEMES and tuple(classes) != CLASSES[name]:
            return f"head {name} has other classes than its scheme"
    return f"there are more than {MAX_HEADS} heads" if len(heads) > MAX_HEADS else ""


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
