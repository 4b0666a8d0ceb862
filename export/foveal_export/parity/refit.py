"""Refit temperatures and operating points on an artefact's own logits: INT8's are not FP32's. The fits are training's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foveal_export.parity.assess import Calibrations, ask_engine, ask_reference, labels
from foveal_export.parity.parity import Answers
from foveal_export.studies import cases
from foveal_runtime.bundle.agreement import allowed
from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.fits import fit_subset
from foveal_runtime.study.labels import ICDR, referral_score
from foveal_runtime.study.study import Subset, subset_name
from foveal_train.data import Sample
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import RunInfo

TEMPERATURE_TOLERANCE = 0.12
"""Share by which a stored temperature may differ from a refitted one. Fits on a few dozen studies scatter, and one that is a
tenth off moved the calibration error of 660 answers by less than 0.005 (docs/results.md, "Harm and noise")."""
THRESHOLD_TOLERANCE = 0.01
"""In probability, of a stored threshold; one that lies further off is held to the decisions that it changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refit:
    """A calibration fitted on an artefact's own logits, by subset name."""

    calibration: dict[str, SubsetCalibration]
    scores: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """`referral_score` [N] of the studies that it was fitted on; empty where nothing was fitted."""


def refit(engine: Engine, info: RunInfo, validation: Sequence[Sample]) -> Refit:
    """Fit on an artefact's logits of the whole validation split.

    Without validation studies the run's own calibration stands: it is closer to the artefact's than none.
    """
    if not validation or not info.trained_heads:
        return Refit(calibration=dict(info.calibration))
    seen = _by_subset(engine, info, validation)
    answers = ask_engine(engine, info, seen, vectors=False)
    fitted = fit_calibrations(answers, seen, info)
    unseen = [name for name in map(subset_name, info.subsets) if name not in seen]
    rest = {name: info.calibration.get(name, SubsetCalibration()) for name in unseen}
    scores = {
        name: referral_score(fitted[name].probabilities(ICDR, answers[name].logits[ICDR]))
        for name in seen
        if ICDR in info.trained_heads
    }
    return Refit(calibration=fitted | rest, scores=scores)


def _by_subset(preparer: cases.Preparer, info: RunInfo, validation: Sequence[Sample]) -> dict[str, list[cases.Case]]:
    """The validation studies through every trained modality subset that some of them have, by its name."""
    modalities: Subset = frozenset().union(*info.subsets)
    known = cases.prepare(preparer, validation, modalities, info.head_classes)
    parts = {subset_name(subset): cases.through(known, subset) for subset in info.subsets}
    return {name: part for name, part in parts.items() if part}


def recalibrated(reference: Reference, info: RunInfo, validation: Sequence[Sample]) -> RunInfo:
    """A run as it is calibrated by today's rules: one of an older foveal has points that were fitted for another decision rule.

    Args:
        reference: PyTorch's model.
        info: of the run.
        validation: its validation studies; without any, the run's own calibration stands.
    """
    old = any(point.studies and not point.patients for entry in info.calibration.values() for point in entry.operating_points)
    if not old or not validation:
        return info
    seen = _by_subset(reference, info, validation)
    fitted = fit_calibrations(ask_reference(reference, info, seen), seen, info)
    return info.model_copy(update={"calibration": {**info.calibration, **fitted}})


def fit_calibrations(
    answers: Mapping[str, Answers], studies: Mapping[str, Sequence[cases.Case]], info: RunInfo
) -> dict[str, SubsetCalibration]:
    """Fit every subset on the answers at hand, by training's own rules.

    Args:
        answers: of either side, by subset name.
        studies: the validation studies they are of.
        info: of the run.
    """
    calibrated = {}
    for name, part in studies.items():
        logits = {head: answers[name].logits[head] for head in info.trained_heads}
        grades = {head: labels(part, head) for head in info.trained_heads}
        calibrated[name] = fit_subset(logits, grades, [case.patient or case.id for case in part])
    return calibrated


def differing(stored: Calibrations, fitted: Refit, referable_flips: float) -> list[tuple[str, str, float, float]]:
    """What a bundle carries that refitting does not give: (subset, quantity, carried, fitted).

    A threshold is an order statistic of a few dozen scores: a rounding may move it across a gap between two of them without
    changing one decision. It differs when it changes more decisions than are no evidence of that share.

    Args:
        stored: the bundle's.
        fitted: again, on its own logits.
        referable_flips: share of the decisions that may change.
    """
    found: list[tuple[str, str, float, float]] = []
    for name, entry in fitted.calibration.items():
        score_N = fitted.scores.get(name, np.empty(0))
        there = stored.get(name, SubsetCalibration())
        for head, temperature in entry.temperature.items():
            carried = there.temperature.get(head, 1.0)
            if not abs(carried / temperature - 1) <= TEMPERATURE_TOLERANCE:
                found.append((name, f"temperature of {head}", carried, temperature))
        thresholds = {point.name: point.threshold for point in there.operating_points}
        for point in entry.operating_points:
            carried = thresholds.get(point.name, float("nan"))
            changed = int(((score_N >= carried) != (score_N >= point.threshold)).sum())
            near = abs(carried - point.threshold) <= THRESHOLD_TOLERANCE
            if np.isnan(carried) or (not near and changed > allowed(referable_flips, len(score_N))):
                found.append((name, f"threshold of {point.name}", carried, point.threshold))
    return found
