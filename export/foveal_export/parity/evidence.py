"""Do held-out studies show that PyTorch's own grades mean anything? Decides what an artefact's grades are held to.

A head that can't be told from chance flips its grades for any reason and for none: counting those flips would refuse exports
for noise. It is held to vectors and probabilities instead, and answers say that it is unverified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_export.parity.paired import resamples_of
from foveal_export.parity.parity import Answers
from foveal_export.studies.cases import Case
from foveal_runtime.bundle.manifest import Evidence, HeadEvidence
from foveal_runtime.study.labels import MISSING, REFERABLE_GRADE, Head, positive_from, softmax
from foveal_train.evaluation.grading import confusion_matrix, confusion_replicates, quadratic_kappa
from foveal_train.evaluation.intervals import LEVEL
from foveal_train.evaluation.referable import auroc

MIN_STUDIES = 50
"""Labelled held-out studies below which nothing is said of a head."""
MIN_EACH = 20
"""Of each side of the class that is positive."""

Evidences = dict[str, dict[Head, HeadEvidence]]
"""By subset name and head."""


def gather(heads: Sequence[Head], parts: Sequence[tuple[Mapping[str, Sequence[Case]], Mapping[str, Answers]]]) -> Evidences:
    """Judge the reference on all held-out studies at hand.

    Args:
        heads: the trained ones.
        parts: studies by subset name and PyTorch's answers on them; every study is in one part alone.
    """
    found: Evidences = {}
    for name in dict.fromkeys(name for cases, _ in parts for name in cases):
        cases = [case for part, _ in parts for case in part.get(name, ())]
        found[name] = {}
        for head in heads:
            logits_NG = np.concatenate([answers[name].logits[head] for _, answers in parts if name in answers])
            labels_N = np.asarray([case.label(head) for case in cases], np.int64)
            found[name][head] = judge(labels_N, logits_NG, [case.patient for case in cases], positive_from(head))
    return found


def judge(
    labels_N: npt.NDArray[np.int64],
    logits_NG: npt.NDArray[np.float32],
    patients: Sequence[str],
    positive: int = REFERABLE_GRADE,
) -> HeadEvidence:
    """Of one head through one subset.

    Args:
        labels_N: grades, `MISSING` where unknown.
        logits_NG: PyTorch's.
        patients: of the same studies.
        positive: class from which a study is positive.
    """
    known_N = labels_N != MISSING
    truth_N, probability_NG = labels_N[known_N], softmax(logits_NG[known_N])
    positive_N = truth_N >= positive
    studies, positives = len(truth_N), int(positive_N.sum())
    if studies < MIN_STUDIES or min(positives, studies - positives) < MIN_EACH:
        return HeadEvidence(status=Evidence.UNVERIFIED, studies=studies, positives=positives)
    resamples = resamples_of([patient for patient, known in zip(patients, known_N, strict=True) if known])
    grade_N, score_N = probability_NG.argmax(axis=1), probability_NG[:, positive:].sum(axis=1)
    kappa = float(quadratic_kappa(confusion_matrix(truth_N, grade_N, probability_NG.shape[1])))
    kappa_low, kappa_high = _ends(quadratic_kappa(confusion_replicates(truth_N, grade_N, resamples, probability_NG.shape[1])))
    area = float(auroc(score_N, positive_N)[0])
    area_low, area_high = _ends(auroc(score_N, positive_N, resamples.weights_RN))
    return HeadEvidence(
        status=Evidence.PROVEN if kappa_low > 0 and area_low > 0.5 else Evidence.CHANCE,
        studies=studies,
        positives=positives,
        kappa=kappa,
        kappa_low=kappa_low,
        kappa_high=kappa_high,
        auroc=area,
        auroc_low=area_low,
        auroc_high=area_high,
    )


def to_json(found: Evidences) -> dict[str, Any]:
    """As JSON, by subset and head."""
    return {name: {head: e.model_dump(mode="json") for head, e in heads.items()} for name, heads in found.items()}


def _ends(replicates_R: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of the interval; the widest possible one where nothing is known."""
    finite = replicates_R[np.isfinite(replicates_R)]
    if not finite.size:
        return -1.0, 1.0
    low, high = np.quantile(finite, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
