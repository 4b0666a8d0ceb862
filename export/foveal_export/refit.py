"""Refit temperatures and operating points on an artefact's own logits: INT8's are not FP32's. The fits are training's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal_export import cases
from foveal_export.assess import labels
from foveal_runtime.engine import Engine
from foveal_runtime.labels import REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_runtime.manifest import OperatingPoint, SubsetCalibration
from foveal_runtime.study import Subset, subset_name
from foveal_train.calibration import fit_operating_points, fit_temperature
from foveal_train.data import Sample
from foveal_train.losses import MISSING
from foveal_train.reference import Reference
from foveal_train.run import RunInfo

_BATCH = 16


def refit(engine: Engine, info: RunInfo, reference: Reference, validation: Sequence[Sample]) -> dict[str, SubsetCalibration]:
    """Calibration by subset name, from the run's validation split.

    Without validation studies the run's own calibration stands: it is closer to the artefact's than none.
    """
    if not validation or not info.trained_heads:
        return dict(info.calibration)
    modalities: Subset = frozenset().union(*info.subsets)
    known = cases.prepare(reference, validation, modalities)
    calibrated = {}
    for subset in info.subsets:
        part = cases.through(known, subset)
        name = subset_name(subset)
        if not part:
            calibrated[name] = info.calibration.get(name, SubsetCalibration())
            continue
        outcomes = [
            outcome
            for start in range(0, len(part), _BATCH)
            for outcome in engine.run([case.prepared for case in part[start : start + _BATCH]])
        ]
        grades = {Head.ICDR: labels(part), Head.SDRG: _sdrg(part, validation)}
        temperature: dict[Head, float] = {}
        points: tuple[OperatingPoint, ...] = ()
        for head in info.trained_heads:
            logits_NG = np.stack([outcome.logits[head] for outcome in outcomes])
            temperature[head] = fit_temperature(logits_NG, grades[head])
            if head is Head.ICDR:
                graded_N = grades[head] != MISSING
                score_N = referable_probability(softmax(logits_NG[graded_N], temperature[head]))
                points = fit_operating_points(score_N, grades[head][graded_N] >= REFERABLE_GRADE)
        calibrated[name] = SubsetCalibration(temperature=temperature, operating_points=points)
    return calibrated


def _sdrg(part: Sequence[cases.Case], samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    level = {sample.id: sample.labels.sdrg for sample in samples}
    return np.asarray([MISSING if level[case.id] is None else level[case.id] for case in part], np.int64)
