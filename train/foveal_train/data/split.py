"""Training, validation and test: patients, never images, stratified by the worst ICDR grade, seeded.

Patients who share a photograph (by content) are one group and stay together, so that neither a patient nor a duplicate
image is ever on both sides.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from foveal_runtime.errors import DataError
from foveal_train.data.duplicates import duplicate_groups
from foveal_train.data.sample import Sample

_UNGRADED = -1
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Three disjoint parts, samples in their original order."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]


def split_patients(
    samples: Sequence[Sample], *, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> Split:
    """Split by patient; the same samples in any order give the same parts.

    Args:
        samples: of one or of several data sets.
        fractions: shares of patients in training, validation and test; 0 leaves a part empty on purpose.
        seed: another seed, another split.

    Raises:
        DataError: fractions that do not add up to 1, a part that would be empty, an image that can't be read.
    """
    if any(f < 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise DataError(f"split fractions are {fractions}; give three that are >= 0 and add up to 1")
    group_of = patient_groups(samples)
    worst: dict[str, int] = defaultdict(lambda: _UNGRADED)
    patients: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        group = group_of[sample.patient_id]
        patients[group].add(sample.patient_id)
        worst[group] = max(worst[group], _UNGRADED if sample.labels.icdr is None else sample.labels.icdr)
    part_of = _assign(patients, worst, fractions, seed)
    parts: list[tuple[Sample, ...]] = [
        tuple(s for s in samples if part_of[group_of[s.patient_id]] == part) for part in range(len(PARTS))
    ]
    for name, fraction, part in zip(PARTS, fractions, parts, strict=True):
        if fraction > 0 and not part:
            raise DataError(
                f"the {name} part of {len(patients)} patients would be empty at a share of {fraction:g}; "
                "give more patients or another share"
            )
    return Split(train=parts[0], validation=parts[1], test=parts[2])


def patient_groups(samples: Sequence[Sample]) -> dict[str, str]:
    """Patient to the name of its group: patients who share a photograph are one group.

    Raises:
        DataError: an image that can't be read.
    """
    parent = {sample.patient_id: sample.patient_id for sample in samples}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = parent[parent[patient]]
            patient = parent[patient]
        return patient

    for group in duplicate_groups(samples):
        for sample in group[1:]:
            # The smaller name wins, so that the order of the samples does not matter.
            one, other = sorted((root(group[0].patient_id), root(sample.patient_id)))
            parent[other] = one
    return {patient: root(patient) for patient in parent}


def _assign(
    patients: dict[str, set[str]], worst: dict[str, int], fractions: tuple[float, float, float], seed: int
) -> dict[str, int]:
    """Group to part: rarest grade first, each group to the part that is furthest behind its share."""
    sizes = Counter(worst[group] for group in patients)

    def place(group: str) -> tuple[int, int, str]:
        stratum = worst[group]
        # A hash instead of a shuffle: one patient more does not move all others.
        return sizes[stratum], stratum, hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()

    part_of: dict[str, int] = {}
    counts = [0] * len(fractions)
    total = 0
    for group in sorted(patients, key=place):
        size = len(patients[group])
        total += size
        behind = [
            fraction * total - count if fraction > 0 else -float("inf")
            for fraction, count in zip(fractions, counts, strict=True)
        ]
        part = behind.index(max(behind))
        part_of[group] = part
        counts[part] += size
    return part_of
