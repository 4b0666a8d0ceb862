"""Refit temperatures and operating points on an artefact's own logits: INT8's are not FP32's. The fits are training's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from foveal_export import cases
from foveal_export.assess import Calibrations, ask_engine, labels
from foveal_export.parity import Answers
from foveal_runtime.engine import Engine
from foveal_runtime.labels import REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_runtime.manifest import OperatingPoint, SubsetCalibration
from foveal_runtime.study import Subset, subset_name
from foveal_train.calibration import fit_operating_points, fit_temperature
from foveal_train.data import Sample
from foveal_train.losses import MISSING
from foveal_train.run import RunInfo

TEMPERATURE_TOLERANCE = 0.05
"""Share by which a stored temperature may differ from a refitted one: processors round differently."""
THRESHOLD_TOLERANCE = 0.01
"""In probability, of a stored threshold."""


def refit(engine: Engine, info: RunInfo, validation: Sequence[Sample]) -> dict[str, SubsetCalibration]:
    """Calibration by subset name, of an artefact's logits of the whole validation split.

    Without validation studies the run's own calibration stands: it is closer to the artefact's than none.
    """
    if not validation or not info.trained_heads:
        return dict(info.calibration)
    modalities: Subset = frozenset().union(*info.subsets)
    known = cases.prepare(engine, validation, modalities)
    parts = {subset_name(subset): cases.through(known, subset) for subset in info.subsets}
    seen = {name: part for name, part in parts.items() if part}
    fitted = fit_calibrations(ask_engine(engine, info, seen, vectors=False), seen, info)
    rest = {name: info.calibration.get(name, SubsetCalibration()) for name in parts if name not in seen}
    return fitted | rest


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
        temperature: dict[Head, float] = {}
        points: tuple[OperatingPoint, ...] = ()
        for head in info.trained_heads:
            logits_NG, grades_N = answers[name].logits[head], labels(part, head)
            temperature[head] = fit_temperature(logits_NG, grades_N)
            if head is Head.ICDR:
                known_N = grades_N != MISSING
                score_N = referable_probability(softmax(logits_NG[known_N], temperature[head]))
                points = fit_operating_points(score_N, grades_N[known_N] >= REFERABLE_GRADE)
        calibrated[name] = SubsetCalibration(temperature=temperature, operating_points=points)
    return calibrated


def differing(stored: Calibrations, fitted: Calibrations) -> list[tuple[str, str, float, float]]:
    """What a bundle carries that refitting does not give: (subset, quantity, carried, fitted)."""
    found: list[tuple[str, str, float, float]] = []
    for name, entry in fitted.items():
        there = stored.get(name, SubsetCalibration())
        for head, temperature in entry.temperature.items():
            carried = there.temperature.get(head, 1.0)
            if not abs(carried / temperature - 1) <= TEMPERATURE_TOLERANCE:
                found.append((name, f"temperature of {head.value}", carried, temperature))
        thresholds = {point.name: point.threshold for point in there.operating_points}
        for point in entry.operating_points:
            carried = thresholds.get(point.name, float("nan"))
            if not abs(carried - point.threshold) <= THRESHOLD_TOLERANCE:
                found.append((name, f"threshold of {point.name}", carried, point.threshold))
    return found
