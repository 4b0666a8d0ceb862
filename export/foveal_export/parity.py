"""Parity: how far an artefact's answers are from PyTorch's on the same studies. Runs no model, writes no file.

Shapes: N studies, D = 256, G grades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_export.budget import Budget
from foveal_runtime.engine import VectorKind
from foveal_runtime.labels import REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_train.evaluation import grading, referable
from foveal_train.evaluation.reliability import reliability
from foveal_train.losses import MISSING
from foveal_train.run import RunInfo

Float = npt.NDArray[np.float32]
NEIGHBOURS = 10
WORST = 8
LEARNT = 0.6
"""Referable-DR AUROC of PyTorch itself from which a model counts as trained; 0.5 is chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One side's answers on the studies of one subset."""

    vectors: Mapping[VectorKind, Float]
    """Unit vectors [N, D] by kind."""
    logits: Mapping[Head, Float]
    """Raw logits [N, G] of the trained heads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorParity:
    """One kind of vector."""

    mean_cosine: float
    min_cosine: float
    max_abs: float
    overlap: float | None
    """Mean overlap of ten nearest neighbours, artefact's queries against the artefact's own index."""
    cross_overlap: float | None
    """The same against PyTorch's index; both are compared with PyTorch's queries against PyTorch's index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadParity:
    """One grading head."""

    flips: int
    max_abs_logit: float
    max_abs_probability: float
    labelled: int
    kappa_reference: float | None = None
    kappa: float | None = None
    expected_calibration_error_reference: float | None = None
    expected_calibration_error: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetParity:
    """Everything about one modality subset."""

    studies: int
    vectors: dict[str, VectorParity]
    heads: dict[str, HeadParity]
    referable_flips: int | None = None
    auroc_reference: float | None = None
    auroc: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One limit that was missed."""

    subset: str
    quantity: str
    got: float
    limit: float

    def __str__(self) -> str:
        return f"{self.subset}: {self.quantity} is {self.got:.6g}, the limit is {self.limit:.6g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """A study on which the artefact is furthest from PyTorch."""

    study: str
    subset: str
    kind: str
    cosine: float
    drift: dict[str, float] = field(default_factory=dict)
    """Relative error behind every block."""


def compare(reference: Answers, artefact: Answers, labels_N: npt.NDArray[np.int64], thresholds: float = 0.5) -> SubsetParity:
    """Compare one subset.

    Args:
        reference: PyTorch's.
        artefact: the exported graphs'.
        labels_N: ICDR grades, `MISSING` where there is none.
        thresholds: of the referable decision, on probabilities at temperature 1.
    """
    vectors = {
        kind.value: vector_parity(reference.vectors[kind], artefact.vectors[kind])
        for kind in VectorKind
        if kind in reference.vectors and len(reference.vectors[kind])
    }
    heads = {
        head.value: head_parity(
            reference.logits[head],
            artefact.logits[head],
            labels_N if head is Head.ICDR else np.full(len(labels_N), MISSING),
        )
        for head in reference.logits
    }
    referable_flips = auroc_reference = auroc_artefact = None
    if Head.ICDR in reference.logits:
        before, after = (referable_probability(softmax(side.logits[Head.ICDR])) for side in (reference, artefact))
        referable_flips = int(((before >= thresholds) != (after >= thresholds)).sum())
        known = labels_N != MISSING
        positive = labels_N[known] >= REFERABLE_GRADE
        if positive.any() and not positive.all():
            auroc_reference, auroc_artefact = auroc(before[known], positive), auroc(after[known], positive)
    return SubsetParity(
        studies=len(labels_N),
        vectors=vectors,
        heads=heads,
        referable_flips=referable_flips,
        auroc_reference=auroc_reference,
        auroc=auroc_artefact,
    )


def vector_parity(reference_ND: Float, artefact_ND: Float) -> VectorParity:
    """Compare unit vectors of the same studies."""
    cosine_N = (reference_ND.astype(np.float64) * artefact_ND).sum(axis=1)
    enough = len(reference_ND) > NEIGHBOURS
    return VectorParity(
        mean_cosine=float(cosine_N.mean()),
        min_cosine=float(cosine_N.min()),
        max_abs=float(np.abs(reference_ND - artefact_ND).max()),
        overlap=neighbour_overlap(reference_ND, artefact_ND, artefact_ND) if enough else None,
        cross_overlap=neighbour_overlap(reference_ND, artefact_ND, reference_ND) if enough else None,
    )


def neighbour_overlap(reference_ND: Float, query_ND: Float, index_ND: Float, count: int = NEIGHBOURS) -> float:
    """Share of a query's nearest neighbours that are among PyTorch's, its own study left out.

    A neighbour counts when PyTorch finds it as near as its own `count`-th: notes that are the same text are equally near,
    and which of them comes first means nothing.
    """
    truth_NN = reference_ND.astype(np.float64) @ reference_ND.T
    found_NN = query_ND.astype(np.float64) @ index_ND.T
    np.fill_diagonal(truth_NN, -np.inf)
    np.fill_diagonal(found_NN, -np.inf)
    count = min(count, len(truth_NN) - 1)
    nth_N1 = np.sort(truth_NN, axis=1)[:, -count][:, None]
    nearest_NK = np.argsort(-found_NN, axis=1, kind="stable")[:, :count]
    return float((np.take_along_axis(truth_NN, nearest_NK, axis=1) >= nth_N1 - 1e-6).mean())


def head_parity(reference_NG: Float, artefact_NG: Float, labels_N: npt.NDArray[np.int64]) -> HeadParity:
    """Compare logits of the same studies."""
    before_NG, after_NG = softmax(reference_NG), softmax(artefact_NG)
    grade, graded = before_NG.argmax(axis=1), after_NG.argmax(axis=1)
    known = labels_N != MISSING
    measured: dict[str, float] = {}
    if known.sum() >= 2:
        truth = labels_N[known]
        measured = {
            "kappa_reference": quadratic_kappa(truth, grade[known]),
            "kappa": quadratic_kappa(truth, graded[known]),
            "expected_calibration_error_reference": calibration_error(before_NG[known], truth),
            "expected_calibration_error": calibration_error(after_NG[known], truth),
        }
    return HeadParity(
        flips=int((grade != graded).sum()),
        max_abs_logit=float(np.abs(reference_NG - artefact_NG).max()),
        max_abs_probability=float(np.abs(before_NG - after_NG).max()),
        labelled=int(known.sum()),
        **measured,
    )


def quadratic_kappa(truth_N: npt.NDArray[Any], grade_N: npt.NDArray[Any]) -> float:
    """Evaluation's quadratic-weighted kappa as one number; 1 when neither side ever differs from one grade."""
    kappa = float(grading.quadratic_kappa(grading.confusion_matrix(truth_N, grade_N)))
    return 1.0 if np.isnan(kappa) else kappa


def auroc(score_N: npt.NDArray[Any], positive_N: npt.NDArray[np.bool_]) -> float:
    """Evaluation's area under the ROC curve, ties in halves, as one number."""
    return float(referable.auroc(score_N, positive_N)[0])


def calibration_error(probability_NG: npt.NDArray[np.float64], truth_N: npt.NDArray[Any]) -> float:
    """Expected calibration error of the likeliest grade over evaluation's bins, at temperature 1, as one number."""
    bins = reliability(probability_NG.max(axis=1), probability_NG.argmax(axis=1) == truth_N)
    return float(sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in bins) / len(truth_N))


def is_graded(info: RunInfo, reference: Mapping[str, Answers], labels: Mapping[str, npt.NDArray[np.int64]]) -> bool:
    """False for a model whose grades mean nothing: never trained, `tiny`, or on the studies at hand no better than chance.

    Without studies of both kinds at hand, the operating points that training fitted are the evidence: they need both.

    Args:
        info: of the run.
        reference: PyTorch's answers by subset name.
        labels: ICDR grades of the same studies, `MISSING` where there is none.
    """
    if info.epochs == 0 or info.model.profile == "tiny" or Head.ICDR not in info.trained_heads:
        return False
    found = []
    for name, answers in reference.items():
        known = labels[name] != MISSING
        positive = labels[name][known] >= REFERABLE_GRADE
        if positive.any() and not positive.all():
            found.append(auroc(referable_probability(softmax(answers.logits[Head.ICDR]))[known], positive))
    if found:
        return max(found) >= LEARNT
    return any(point.studies for entry in info.calibration.values() for point in entry.operating_points)


def failures(subsets: Mapping[str, SubsetParity], budget: Budget, *, graded: bool, dependence: float) -> list[Failure]:
    """Every limit that is missed, in the order of the report.

    Args:
        subsets: by subset name.
        budget: limits.
        graded: False for a model that is hardly trained: grades and neighbours are then reported, not judged.
        dependence: largest difference of a study alone and in a batch.
    """
    missed: list[Failure] = []

    def judge(subset: str, quantity: str, got: float, limit: float, *, least: bool = False) -> None:
        # `not` of the wanted relation, so that NaN fails.
        if not (got >= limit if least else got <= limit):
            missed.append(Failure(subset=subset, quantity=quantity, got=got, limit=limit))

    for name, part in subsets.items():
        for kind, vector in part.vectors.items():
            judge(name, f"min_cosine of {kind}", vector.min_cosine, budget.min_cosine, least=True)
            judge(name, f"max_abs of {kind}", vector.max_abs, budget.max_abs)
            if graded and vector.cross_overlap is not None:
                judge(name, f"neighbour_overlap of {kind}", vector.cross_overlap, budget.neighbour_overlap, least=True)
        if not graded:
            continue
        icdr = part.heads.get(Head.ICDR.value)
        if icdr is not None:
            judge(name, "icdr_flips", icdr.flips, allowed(budget.icdr_flips, part.studies))
            if icdr.kappa is not None and icdr.kappa_reference is not None and icdr.flips > 1:
                judge(name, "kappa_drop", icdr.kappa_reference - icdr.kappa, budget.kappa_drop)
        if part.referable_flips is not None:
            judge(name, "referable_flips", part.referable_flips, allowed(budget.referable_flips, part.studies))
    judge("all", "neighbour_dependence", dependence, budget.neighbour_dependence)
    return missed


def allowed(share: float, studies: int) -> float:
    """Studies that a share allows: always one, unless the share is 0."""
    return 0.0 if share == 0 else max(1.0, share * studies)


def worst_studies(ids: Sequence[str], subset: str, reference: Answers, artefact: Answers) -> list[Worst]:
    """How far every study is off, a row a kind of vector."""
    return [
        Worst(study=ids[i], subset=subset, kind=kind.value, cosine=float(cosine))
        for kind in reference.vectors
        for i, cosine in enumerate((reference.vectors[kind].astype(np.float64) * artefact.vectors[kind]).sum(axis=1))
    ]


def to_json(parts: Mapping[str, SubsetParity]) -> dict[str, Any]:
    """Subsets as JSON."""
    return {name: asdict(part) for name, part in parts.items()}
