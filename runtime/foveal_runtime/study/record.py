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


DURATION, INSULIN, DIABETES = (FEATURES.index(name) for name in ("diabetes_years", "insulin", "diabetes"))
DURATION_MISSING = "diabetes_years_missing"
"""1 where no duration is recorded: after the six features, where a model takes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordSpec:
    """How a record becomes features. Every field changes the embedding space."""

    no_diabetes_is_zero: bool = False
    """A person without diabetes has had it for 0 years, and a seventh feature says that no duration is recorded. False fills in
    the median of those who have a duration, about ten years: the paper's way, and that of older runs."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return (*FEATURES, DURATION_MISSING) if self.no_diabetes_is_zero else FEATURES


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStats:
    """What is needed to impute and standardise; one value per entry of `FEATURES`, of the training split alone."""

    fill: tuple[float, ...] = (60.0, 0.0, 0.0, 10.0, 0.0, 1.0)
    """Median of continuous features, mode of coded ones: what a missing value becomes."""
    mean: tuple[float, ...] = (60.0, 0.0, 0.0, 10.0, 0.0, 0.0)
    """0 for coded features, which are fed as codes."""
    std: tuple[float, ...] = (15.0, 1.0, 1.0, 8.0, 1.0, 1.0)
    spec: RecordSpec = RecordSpec()


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


def _known_features(record: Record, spec: RecordSpec) -> tuple[float | None, ...]:
    raw = list(raw_features(record))
    if spec.no_diabetes_is_zero and record.diabetes is False and raw[DURATION] is None:
        raw[DURATION] = 0.0
    return tuple(raw)


def encode_record(record: Record, stats: FeatureStats) -> EncodedRecord:
    """Impute and standardise one record to `features_F`, F = 6, or 7 where the duration's absence is a feature."""
    raw = _known_features(record, stats.spec)
    imputed = tuple(name for name, value in zip(FEATURES, raw, strict=True) if value is None)
    filled = np.asarray([fill if value is None else value for value, fill in zip(raw, stats.fill, strict=True)], np.float64)
    features = (filled - np.asarray(stats.mean)) / np.asarray(stats.std)
    if stats.spec.no_diabetes_is_zero:
        features = np.append(features, float(record.diabetes_years is None))
    return EncodedRecord(features_F=features.astype(np.float32), imputed=imputed)


def fit_stats(records: Iterable[Record], spec: RecordSpec = RecordSpec()) -> FeatureStats:
    """Medians, modes, means and deviations of a training split; features that never occur keep the defaults.

    Args:
        records: of the training split.
        spec: how records are read.
    """
    columns: list[list[float]] = [[] for _ in FEATURES]
    durations: list[float] = []
    for record in records:
        if record.diabetes_years is not None:
            durations.append(record.diabetes_years)
        for column, value in zip(columns, _known_features(record, spec), strict=True):
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
    if durations:
        fill[DURATION] = float(np.median(durations))  # of those who have one: nobody else's is unknown
    return FeatureStats(fill=tuple(fill), mean=tuple(mean), std=tuple(std), spec=spec)
