"""Grading figures of one head on labelled studies, each with a bootstrap interval. Runs no model and knows no modality.

Everything follows from the confusion matrix, of the studies and of every replicate at once. Accuracy never stands
alone: 93.8 % of BRSET has grade 0, so always answering 0 is 93.8 % accurate (DESIGN, section 4). Shapes: R replicates,
N studies, G grades; confusion matrices have the true grade in rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.labels import GRADES
from foveal_train.evaluation.intervals import Figure, Float, Resamples, divide, figure, proportion

Int = npt.NDArray[np.int64]


def confusion_matrix(truth_N: Int, answer_N: Int, classes: int = GRADES) -> Float:
    """Counts, true grade in rows."""
    flat = np.bincount(truth_N * classes + answer_N, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.float64)


def confusion_replicates(truth_N: Int, answer_N: Int, resamples: Resamples, classes: int = GRADES) -> Float:
    """Confusion matrix of every replicate, `[R, G, G]`."""
    cells_NC = np.eye(classes * classes, dtype=np.float32)[truth_N * classes + answer_N]
    return resamples.sums(cells_NC).reshape(-1, classes, classes)


def accuracy(confusion_RGG: Float) -> Float:
    """Share on the diagonal."""
    return divide(np.trace(confusion_RGG, axis1=-2, axis2=-1), confusion_RGG.sum((-2, -1)))


def recall(confusion_RGG: Float) -> Float:
    """Share of each true grade that was recognised, `[..., G]`; NaN where the grade does not occur."""
    return divide(np.diagonal(confusion_RGG, axis1=-2, axis2=-1), confusion_RGG.sum(-1))


def balanced_accuracy(confusion_RGG: Float) -> Float:
    """Mean recall over the grades that occur."""
    per_grade = recall(confusion_RGG)
    known = np.isfinite(per_grade)
    return divide(np.where(known, per_grade, 0).sum(-1), known.sum(-1))


def quadratic_kappa(confusion_RGG: Float) -> Float:
    """Quadratic-weighted kappa (Cohen 1968); NaN when truth and answer are both one and the same grade throughout."""
    grades = confusion_RGG.shape[-1]
    grade = np.arange(grades)
    weight_GG = (grade[:, None] - grade[None, :]) ** 2 / (grades - 1) ** 2
    total = confusion_RGG.sum((-2, -1))
    observed = (confusion_RGG * weight_GG).sum((-2, -1))
    chance_RGG = confusion_RGG.sum(-1)[..., :, None] * confusion_RGG.sum(-2)[..., None, :]
    expected = divide((chance_RGG * weight_GG).sum((-2, -1)), total)
    return 1 - divide(observed, expected)


def majority(truth_N: Int, resamples: Resamples, classes: int = GRADES) -> dict[str, Any]:
    """What always answering the commonest grade would reach on these studies."""
    counts = np.bincount(truth_N, minlength=classes)
    grade = int(counts.argmax())
    hit_N = truth_N == grade
    replicates = divide(resamples.sums(hit_N[:, None])[:, 0], resamples.sums(np.ones((len(hit_N), 1)))[:, 0])
    return {
        "grade": grade,
        "accuracy": proportion(
            float(hit_N.mean()), replicates, n=len(truth_N), patients=resamples.patients, undefined="no labelled study"
        ),
        "balanced_accuracy": 1 / int((counts > 0).sum()),
        "kappa": 0.0,
    }


def grade_figures(truth_N: Int, answer_N: Int, resamples: Resamples, classes: int = GRADES) -> dict[str, Any]:
    """All that a confusion matrix says of one head; at least one study.

    Args:
        truth_N: known grades.
        answer_N: answered grades.
        resamples: of the same studies.
        classes: of the head.
    """
    one = confusion_matrix(truth_N, answer_N, classes)
    many = confusion_replicates(truth_N, answer_N, resamples, classes)
    n, patients = len(truth_N), resamples.patients
    base = majority(truth_N, resamples, classes)
    base_RN = divide(many.sum(-1)[:, base["grade"]], many.sum((-2, -1)))
    recalls: list[Figure] = []
    for grade in range(classes):
        here = resamples.at(truth_N == grade)
        recalls.append(
            proportion(
                float(recall(one)[grade]),
                recall(many)[:, grade],
                n=len(here),
                patients=here.patients,
                undefined="no study of this grade",
            )
        )
    one_grade = "truth and answers are one and the same grade"
    return {
        "n": n,
        "patients": patients,
        "counts": [int(count) for count in one.sum(1)],
        "majority": base,
        "accuracy": proportion(float(accuracy(one)), accuracy(many), n=n, patients=patients, undefined="no labelled study"),
        "above_majority": figure(
            float(accuracy(one)) - base["accuracy"]["value"], accuracy(many) - base_RN, n=n, patients=patients
        ),
        "balanced_accuracy": figure(float(balanced_accuracy(one)), balanced_accuracy(many), n=n, patients=patients),
        "kappa": figure(float(quadratic_kappa(one)), quadratic_kappa(many), n=n, patients=patients, undefined=one_grade),
        "recall": recalls,
        "confusion": [[int(cell) for cell in row] for row in one],
    }
