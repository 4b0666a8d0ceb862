"""Parity: how far an artefact's answers are from PyTorch's on the same studies. Runs no model, judges nothing (see `verdict`).

What is compared is what is served: probabilities behind each side's own temperature, decisions at each side's own operating
point. Shapes: N studies, D = 256, G grades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_export.parity.paired import Loss, calibration_loss, kappa_loss, resamples_of, sensitivity_loss
from foveal_runtime.bundle.agreement import TIE_MARGIN, Changes, changed_decisions, changed_grades
from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.grading import default_point
from foveal_runtime.study.labels import ICDR, MISSING, REFERABLE_GRADE, Head, referable_probability, referral_score
from foveal_train.evaluation import referable

Float = npt.NDArray[np.float32]
NEIGHBOURS = 10
GALLERY = 64
"""Studies among which neighbours are looked up. In a larger gallery they lie closer together and more of them change places:
of one INT8 bundle 0.98 were kept among 40 studies, 0.96 among 64 and 0.75 among 660. A limit needs one size."""
WORST = 8
OUTLIERS = 0.01
"""Share of studies whose vectors and probabilities may lie `OUTLIER_REACH` times as far off as the others': always one. A study
on the cusp between two grades turns far under a small change, and which study is worst of a few dozen is chance."""
OUTLIER_REACH = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One side's answers on the studies of one subset."""

    vectors: Mapping[VectorKind, Float]
    """Unit vectors [N, D] by kind."""
    logits: Mapping[Head, Float]
    """Raw logits [N, G] of the trained heads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What is known of the studies of one subset."""

    labels: Mapping[Head, npt.NDArray[np.int64]]
    """Grades [N] by head, `MISSING` where there is none."""
    patients: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorParity:
    """One kind of vector."""

    mean_cosine: float
    min_cosine: float
    low_cosine: float
    """The least without the outliers: one study in a hundred, at least one."""
    max_abs: float
    overlap: float | None
    """Mean overlap of ten nearest neighbours, artefact's queries against the artefact's own index."""
    cross_overlap: float | None
    """The same against PyTorch's index; both are compared with PyTorch's queries against PyTorch's index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadParity:
    """One grading head."""

    flips: int
    """Grades that changed, near-ties included."""
    near_ties: int
    """Of them, where PyTorch itself was not sure."""
    counted: int
    """Those that the budget is held against."""
    max_abs_logit: float
    max_abs_probability: float
    high_abs_probability: float
    """The largest without the outliers: one study in a hundred, at least one."""
    temperature_reference: float
    temperature: float
    labelled: int
    kappa: Loss | None = None
    expected_calibration_error: Loss | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferableParity:
    """The referral decision."""

    flips: int
    near_ties: int
    counted: int
    shift: float
    """Mean change of the probability of referable DR, near-ties included."""
    threshold_reference: float
    threshold: float
    sensitivity: Loss | None = None
    auroc_reference: float | None = None
    auroc: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubsetParity:
    """Everything about one modality subset."""

    studies: int
    vectors: dict[str, VectorParity]
    heads: dict[str, HeadParity]
    referable: ReferableParity | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """A study on which the artefact is furthest from PyTorch."""

    study: str
    subset: str
    kind: str
    cosine: float
    drift: dict[str, float] = field(default_factory=dict)
    """Relative error behind every block."""


def compare(
    reference: Answers,
    artefact: Answers,
    truth: Truth,
    served: tuple[SubsetCalibration, SubsetCalibration] = (SubsetCalibration(), SubsetCalibration()),
    tie_margin: float = TIE_MARGIN,
) -> SubsetParity:
    """Compare one subset.

    Args:
        reference: PyTorch's.
        artefact: the exported graphs'.
        truth: labels and patients of the same studies.
        served: calibration of PyTorch's logits and of the artefact's.
        tie_margin: margin up to which PyTorch was not sure.
    """
    vectors = {
        kind.value: vector_parity(reference.vectors[kind], artefact.vectors[kind])
        for kind in VectorKind
        if kind in reference.vectors and len(reference.vectors[kind])
    }
    heads: dict[str, HeadParity] = {}
    decided: ReferableParity | None = None
    for head in reference.logits:
        probabilities = tuple(
            calibration.probabilities(head, side.logits[head])
            for side, calibration in zip((reference, artefact), served, strict=True)
        )
        heads[head] = head_parity(
            (reference.logits[head], artefact.logits[head]),
            (probabilities[0], probabilities[1]),
            truth,
            head,
            served,
            tie_margin,
        )
        if head == ICDR:
            decided = referable_parity(probabilities[0], probabilities[1], truth, served, tie_margin)
    return SubsetParity(studies=len(truth.patients), vectors=vectors, heads=heads, referable=decided)


def vector_parity(reference_ND: Float, artefact_ND: Float) -> VectorParity:
    """Compare unit vectors of the same studies."""
    cosine_N = (reference_ND.astype(np.float64) * artefact_ND).sum(axis=1)
    enough = len(reference_ND) > NEIGHBOURS
    return VectorParity(
        mean_cosine=float(cosine_N.mean()),
        min_cosine=float(cosine_N.min()),
        low_cosine=float(np.sort(cosine_N)[_outliers(len(cosine_N))]),
        max_abs=float(np.abs(reference_ND - artefact_ND).max()),
        overlap=_in_galleries(reference_ND, artefact_ND, artefact_ND) if enough else None,
        cross_overlap=_in_galleries(reference_ND, artefact_ND, reference_ND) if enough else None,
    )


def _outliers(studies: int) -> int:
    return min(max(1, int(OUTLIERS * studies)), studies - 1)


def _in_galleries(reference_ND: Float, query_ND: Float, index_ND: Float) -> float:
    """Mean `neighbour_overlap` over galleries of at most `GALLERY` studies."""
    parts = np.array_split(np.arange(len(reference_ND)), -(-len(reference_ND) // GALLERY))
    found = [neighbour_overlap(reference_ND[part], query_ND[part], index_ND[part]) * len(part) for part in parts]
    return sum(found) / len(reference_ND)


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


def head_parity(
    logits: tuple[Float, Float],
    probabilities: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    truth: Truth,
    head: Head,
    served: tuple[SubsetCalibration, SubsetCalibration],
    tie_margin: float,
) -> HeadParity:
    """Compare one head on the same studies.

    Args:
        logits: PyTorch's and the artefact's, [N, G].
        probabilities: the same behind each side's temperature.
        truth: labels and patients.
        head: which.
        served: each side's calibration.
        tie_margin: margin up to which PyTorch was not sure.
    """
    before_NG, after_NG = probabilities
    moved_N = np.abs(before_NG - after_NG).max(axis=1)
    changes: Changes = changed_grades(before_NG, after_NG, tie_margin)
    labels_N = truth.labels[head]
    known_N = labels_N != MISSING
    kappa = calibration = None
    if known_N.sum() >= 2:
        resamples = resamples_of([patient for patient, known in zip(truth.patients, known_N, strict=True) if known])
        kappa = kappa_loss(labels_N[known_N], before_NG[known_N], after_NG[known_N], resamples)
        calibration = calibration_loss(labels_N[known_N], before_NG[known_N], after_NG[known_N], resamples)
    return HeadParity(
        flips=changes.changed,
        near_ties=changes.near_ties,
        counted=changes.counted,
        max_abs_logit=float(np.abs(logits[0] - logits[1]).max()),
        max_abs_probability=float(moved_N.max()),
        high_abs_probability=float(-np.sort(-moved_N)[_outliers(len(moved_N))]),
        temperature_reference=served[0].temperature.get(head, 1.0),
        temperature=served[1].temperature.get(head, 1.0),
        labelled=int(known_N.sum()),
        kappa=kappa,
        expected_calibration_error=calibration,
    )


def referable_parity(
    before_NG: npt.NDArray[np.float64],
    after_NG: npt.NDArray[np.float64],
    truth: Truth,
    served: tuple[SubsetCalibration, SubsetCalibration],
    tie_margin: float,
) -> ReferableParity:
    """Compare referral decisions; arguments as for `head_parity`, probabilities of the ICDR head."""
    before_N, after_N = referable_probability(before_NG), referable_probability(after_NG)
    thresholds = (default_point(served[0]).threshold, default_point(served[1]).threshold)
    changes = changed_decisions(before_NG, after_NG, thresholds, tie_margin)
    labels_N = truth.labels[ICDR]
    known_N = labels_N != MISSING
    positive_N = labels_N[known_N] >= REFERABLE_GRADE
    sensitivity = auroc_reference = auroc_artefact = None
    if positive_N.any():
        resamples = resamples_of([patient for patient, known in zip(truth.patients, known_N, strict=True) if known])
        sides = zip((before_NG, after_NG), thresholds, strict=True)
        decisions = [referral_score(side_NG[known_N]) >= threshold for side_NG, threshold in sides]
        sensitivity = sensitivity_loss(positive_N, decisions[0], decisions[1], resamples)
    if positive_N.any() and not positive_N.all():
        auroc_reference, auroc_artefact = auroc(before_N[known_N], positive_N), auroc(after_N[known_N], positive_N)
    return ReferableParity(
        flips=changes.changed,
        near_ties=changes.near_ties,
        counted=changes.counted,
        shift=float((after_N - before_N).mean()),
        threshold_reference=thresholds[0],
        threshold=thresholds[1],
        sensitivity=sensitivity,
        auroc_reference=auroc_reference,
        auroc=auroc_artefact,
    )


def auroc(score_N: npt.NDArray[Any], positive_N: npt.NDArray[np.bool_]) -> float:
    """Evaluation's area under the ROC curve, ties in halves, as one number."""
    return float(referable.auroc(score_N, positive_N)[0])


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
