"""From a patient record to the six standardised features (paper, section III-A). Statistics come from the training split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.study import Eye, Record, Sex

FEATURES = ("age_years", "sex", "eye", "diabetes_years", "insulin", "diabetes")
"""Order of the features in the structured encoder's input."""
CONTINUOUS = ("age_years", "diabetes_years")


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStats:
    """What is needed to impute and standardise; one value per entry of `FEATURES`, of the training split alone."""

    fill: tuple[float, ...] = (60.0, 0.0, 0.0, 10.0, 0.0, 1.0)
    """Median of continuous features, mode of coded ones: what a missing value becomes."""
    mean: tuple[float, ...] = (60.0, 0.0, 0.0, 10.0, 0.0, 0.0)
    """0 for coded features, which are fed as codes."""
    std: tuple[float, ...] = (15.0, 1.0, 1.0, 8.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedRecord:
    """Features of one record and which of them were imputed."""

    features_F: npt.NDArray[np.float32]
    imputed: tuple[str, ...]


def raw_features(record: Record) -> tuple[float | None, ...]:
    """Numeric codes before standardisation: sex male 0 / female 1, eye right 0 / left 1, flags 0 / 1; None is missing."""
    return (
        record.age_years,
        None if record.sex is None else float(record.sex is Sex.FEMALE),
        None if record.eye is None else float(record.eye is Eye.LEFT),
        record.diabetes_years,
        None if record.insulin is None else float(record.insulin),
        None if record.diabetes is None else float(record.diabetes),
    )


def encode_record(record: Record, stats: FeatureStats) -> EncodedRecord:
    """Impute and standardise one record to `features_F`, F = 6."""
    raw = raw_features(record)
    imputed = tuple(name for name, value in zip(FEATURES, raw, strict=True) if value is None)
    filled = np.asarray([fill if value is None else value for value, fill in zip(raw, stats.fill, strict=True)], np.float64)
    features = (filled - np.asarray(stats.mean)) / np.asarray(stats.std)
    return EncodedRecord(features_F=features.astype(np.float32), imputed=imputed)


def fit_stats(records: Iterable[Record]) -> FeatureStats:
    """Medians, modes, means and deviations of a training split; features that never occur keep the defaults."""
    columns: list[list[float]] = [[] for _ in FEATURES]
    for record in records:
        for column, value in zip(columns, raw_features(record), strict=True):
            if value is not None:
                column.append(value)
    default = FeatureStats()
    fill, mean, std = list(default.fill), list(default.mean), list(default.std)
    for i, (name, column) in enumerate(zip(FEATURES, columns, strict=True)):
        if not column:
            continue
        values = np.asarray(column)
        if name in CONTINUOUS:
            fill[i] = float(np.median(values))
            mean[i] = float(values.mean())
            std[i] = max(float(values.std()), 1e-3)  # one value repeated must not divide by zero
        else:
            # Ties go to the lower code, so that the statistics do not depend on row order.
            fill[i] = float(values.mean() > 0.5)
    return FeatureStats(fill=tuple(fill), mean=tuple(mean), std=tuple(std))
