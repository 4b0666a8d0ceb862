"""Fit a bundle's calibration anew on a site's own labelled studies, and say how that does on studies that no fit saw.

A model that is moved to another camera and another population is too sure of the wrong grades and refers too many or too few.
Temperature, prior, operating points and grade sets are fitted anew for every modality subset with enough labels; the graphs
stay as they are, so that vectors stay comparable. Runs the bundle's graphs; writes nothing. Shapes: N studies, G grades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.engine import fits
from foveal_runtime.engine.answers import Outcome, Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import default_point
from foveal_runtime.engine.reliability import calibration_error
from foveal_runtime.errors import DataError, StudyError
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.gradeset import set_scores
from foveal_runtime.study.labels import (
    ICDR,
    MISSING,
    REFERABLE_GRADE,
    Head,
    confusion_counts,
    quadratic_kappa,
    referral_score,
)
from foveal_runtime.study.study import Study, Subset, subset_of

LEAST = 50
"""Labelled gradable studies of a modality subset from which it is adapted."""
_DRAWS = 500
_BATCH = 8

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledStudy:
    """A study of the site with what its readers said."""

    load: Callable[[], Study]
    """Reads it; a photograph need not be in memory before its turn."""
    patient: str
    labels: dict[Head, int]
    """Grades by head; a head that nobody read is missing."""


@dataclass(kw_only=True, slots=True)
class Asked:
    """The bundle's answers on the studies of one modality subset."""

    logits: dict[Head, list[Any]] = field(default_factory=dict)
    """Raw, `[G]` a study."""
    labels: dict[Head, list[int]] = field(default_factory=dict)
    patients: list[str] = field(default_factory=list)
    ungradable: int = 0
    """Photographs that fail the gradability check, left out: no server grades them."""
    unusable: int = 0
    """Studies that can't be read, left out."""


def ask(
    engine: Engine, studies: Sequence[LabelledStudy], advance: Callable[[int], None] = lambda steps: None
) -> dict[str, Asked]:
    """The bundle's logits of every labelled study, through every trained modality subset that it has.

    Args:
        engine: of the bundle.
        studies: of the site.
        advance: called with the studies that were asked since the last call.
    """
    found = {name: Asked() for name in engine.manifest.trained_subsets}
    for batch in _batches(studies):
        for name, asked in found.items():
            prepared = list(_prepared(engine, batch, subset_of(name), asked))
            for (study, _), outcome in zip(prepared, engine.run([item for _, item in prepared]), strict=True):
                _add(asked, study, outcome)
        advance(len(batch))
    return {name: asked for name, asked in found.items() if asked.patients}


def _batches(studies: Sequence[LabelledStudy]) -> Iterator[list[LabelledStudy]]:
    rest = iter(studies)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _prepared(
    engine: Engine, batch: Sequence[LabelledStudy], subset: Subset, asked: Asked
) -> Iterator[tuple[LabelledStudy, Prepared]]:
    for each in batch:
        study = each.load()
        if not subset <= study.modalities:
            continue
        try:
            item = engine.prepare(study.only(subset))
        except StudyError:
            asked.unusable += 1
            continue
        if item.subset != subset:
            asked.unusable += 1  # a DICOM header fills a record: the study is then one of another subset
        elif item.quality not in (None, Quality.GRADABLE):
            asked.ungradable += 1
        else:
            yield each, item


def _add(asked: Asked, study: LabelledStudy, outcome: Outcome) -> None:
    asked.patients.append(study.patient)
    for head, logits_G in outcome.logits.items():
        asked.logits.setdefault(head, []).append(logits_G)
        asked.labels.setdefault(head, []).append(study.labels.get(head, MISSING))


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptation:
    """What a site's studies ask for, by modality subset; subsets with too few labels are left as they are."""

    calibration: dict[str, SubsetCalibration]
    figures: dict[str, dict[str, Any]]
    """Of the adapted subsets (docs/trust.md)."""


def adapt(engine: Engine, asked: dict[str, Asked], *, seed: int = 0) -> Adaptation:
    """Fit every subset that has enough labels.

    Args:
        engine: of the bundle.
        asked: its answers.
        seed: of the draws of a perfectly calibrated model, to which the calibration error is compared.

    Raises:
        DataError: no subset has enough.
    """
    calibration, figures = dict(engine.manifest.calibration), dict[str, dict[str, Any]]()
    labelled = {}
    for name, each in asked.items():
        labels_N = np.asarray(each.labels.get(ICDR, ()), np.int64)
        labelled[name] = int((labels_N != MISSING).sum())
        if labelled[name] >= LEAST:
            old = engine.manifest.calibration.get(name, SubsetCalibration())
            calibration[name], figures[name] = _adapted(old, each, seed)
    if not figures:
        there = ", ".join(f"{count} of {name}" for name, count in labelled.items()) or "none"
        raise DataError(
            f"too few labelled studies to adapt on: {there}, and {LEAST} gradable ones of a modality subset with their ICDR "
            "grade are needed; give more with --data"
        )
    return Adaptation(calibration=calibration, figures=figures)


def _adapted(old: SubsetCalibration, asked: Asked, seed: int) -> tuple[SubsetCalibration, dict[str, Any]]:
    logits = {head: np.asarray(rows, np.float64) for head, rows in asked.logits.items()}
    labels = {head: np.asarray(rows, np.int64) for head, rows in asked.labels.items()}
    new = fits.fit_subset(logits, labels, asked.patients, prior=True)
    known_N = labels[ICDR] != MISSING
    truth_N = labels[ICDR][known_N]
    before_NG = old.probabilities(ICDR, logits[ICDR][known_N])
    after_NG, patient_N = fits.cross_fitted(logits[ICDR], labels[ICDR], asked.patients, prior=True)
    if not any(point.studies for point in new.operating_points):
        new = new.model_copy(update={"operating_points": _carried(old, before_NG, after_NG)})
    figures = {
        "studies": len(truth_N),
        "patients": int(patient_N.max()) + 1,
        "referable": int((truth_N >= REFERABLE_GRADE).sum()),
        "ungradable": asked.ungradable,
        "unusable": asked.unusable,
        "fitted_points": any(point.studies for point in new.operating_points),
        "before": _figures(before_NG, truth_N, default_point(old), old, seed),
        "after": _figures(after_NG, truth_N, default_point(new), new, seed),
    }
    return new, figures


def _carried(old: SubsetCalibration, before_NG: Float, after_NG: Float) -> tuple[OperatingPoint, ...]:
    """The bundle's points, where the site has too few referable patients for its own; they refer all that they referred."""
    carried = []
    for point in old.operating_points or (fits.DEFAULT_POINT,):
        referred_N = referral_score(before_NG) >= point.threshold
        scores_N = referral_score(after_NG)
        threshold = float(scores_N[referred_N].min()) if referred_N.any() else point.threshold
        carried.append(OperatingPoint(name=point.name, threshold=min(threshold, 1.0)))
    return tuple(carried)


def _figures(
    probabilities_NG: Float, truth_N: npt.NDArray[np.int64], point: OperatingPoint, calibration: SubsetCalibration, seed: int
) -> dict[str, Any]:
    grade_N, positive_N = probabilities_NG.argmax(1), truth_N >= REFERABLE_GRADE
    referred_N = referral_score(probabilities_NG) >= point.threshold
    found: dict[str, Any] = {
        "kappa": quadratic_kappa(confusion_counts(truth_N, grade_N)),
        "negative_log_likelihood": float(-np.log(np.maximum(probabilities_NG[np.arange(len(truth_N)), truth_N], 1e-12)).mean()),
        "calibration_error": sureness_error(probabilities_NG, truth_N),
        "calibration_error_if_perfect": perfect_error(probabilities_NG, seed),
        "sensitivity": float(referred_N[positive_N].mean()) if positive_N.any() else None,
        "specificity": float((~referred_N[~positive_N]).mean()) if (~positive_N).any() else None,
    }
    if calibration.grade_set is not None:
        scores_NG = set_scores(probabilities_NG)
        inside_NG = scores_NG <= calibration.grade_set.quantile
        found["set_coverage"] = float(inside_NG[np.arange(len(truth_N)), truth_N].mean())
        found["set_size"] = float(inside_NG.sum(1).mean())
    return found


def sureness_error(probabilities_NG: Float, truth_N: npt.NDArray[np.int64]) -> float:
    """Expected calibration error of the likeliest grade."""
    return calibration_error(probabilities_NG.max(1), probabilities_NG.argmax(1) == truth_N)


def perfect_error(probabilities_NG: Float, seed: int = 0) -> float:
    """The calibration error that so many studies would show of a model whose probabilities were all true."""
    rng = np.random.default_rng(seed)
    cumulative_NG = probabilities_NG.cumsum(1)
    count, classes = probabilities_NG.shape
    drawn = [(rng.random((count, 1)) > cumulative_NG).sum(1).clip(max=classes - 1) for _ in range(_DRAWS)]
    return float(np.mean([sureness_error(probabilities_NG, truth_N) for truth_N in drawn]))
