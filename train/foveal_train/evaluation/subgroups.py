"""Which subgroup a study belongs to: sex, age band, eye, camera. Computes no figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foveal_train.data.sample import Sample

UNKNOWN = "unknown"
AGE_BANDS: tuple[tuple[str, float], ...] = (
    ("under 40", 40.0),
    ("40 to 54", 55.0),
    ("55 to 69", 70.0),
    ("70 and over", float("inf")),
)
"""Name and upper bound in years, exclusive."""
ATTRIBUTES = ("sex", "age", "eye", "camera")


def age_band(years: float | None) -> str:
    """The band of an age."""
    if years is None:
        return UNKNOWN
    return next(name for name, below in AGE_BANDS if years < below)


def value_of(sample: Sample, attribute: str) -> str:
    """The subgroup of one study."""
    record = sample.record
    if attribute == "camera":
        return sample.camera or UNKNOWN
    if attribute == "age":
        return age_band(None if record is None else record.age_years)
    value = None if record is None else getattr(record, attribute)
    return UNKNOWN if value is None else str(value.value)


def subgroups(samples: Sequence[Sample], attribute: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows of each subgroup, bands and names in order, unknown last; empty when only one subgroup is known.

    A data set that says nothing of an attribute, or has one value throughout, has nothing to compare.
    """
    values = np.asarray([value_of(sample, attribute) for sample in samples], dtype=object)
    found = set(values.tolist())
    if len(found - {UNKNOWN}) < 2:
        return {}
    bands = [name for name, _ in AGE_BANDS]
    order = sorted(found, key=lambda value: (value == UNKNOWN, bands.index(value) if value in bands else -1, value))
    return {value: np.asarray(values == value) for value in order}
