"""What a data set holds and what is wrong with it: counts, missing values, duplicates, undecodable files. Prints nothing."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from foveal_runtime.errors import DataError, ImageError
from foveal_runtime.photo.imaging import ImageSpec, decode
from foveal_runtime.study.record import FEATURES
from foveal_train.data.near import Bits, near_pairs, perceptual_hash
from foveal_train.data.sample import Dataset, Problem, Sample

_SPEC = ImageSpec()


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """Photographs with the same pixels."""

    ids: tuple[str, ...]
    patients: int
    contradicting: bool
    """Their labels differ."""

    @property
    def harmful(self) -> bool:
        """Two photographs of one patient with one label harm nothing; the split keeps a patient together."""
        return self.patients > 1 or self.contradicting


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicate:
    """Two photographs that look alike, by their perceptual hash: perhaps one, at two exposures."""

    ids: tuple[str, str]
    patients: int
    agreement: float
    """Share of the hash that agrees (`foveal_train.data.near`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Counts are of usable rows; what was left out stands in `problems` and `refused`."""

    name: str
    spec: str
    images: int
    patients: int
    icdr: dict[str, int]
    sdrg: dict[str, int]
    macular_edema: dict[str, int]
    """Count by grade, `missing` last; all missing where the data set has no such label."""
    missing: dict[str, int]
    """Samples without a note, without each feature of the record, or without an image."""
    distinct_notes: int
    findings: dict[str, int]
    cameras: dict[str, int]
    duplicates: tuple[Duplicate, ...]
    near_duplicates: tuple[NearDuplicate, ...]
    """For a person to look at: no faults, and kept apart by no split."""
    refused: tuple[Problem, ...]
    """Photographs that can't be decoded, or are refused by the runtime's limits."""
    problems: tuple[Problem, ...]
    table_faults: tuple[str, ...]
    """What is wrong with the table as a whole: a column of grades that is not read."""
    remarks: tuple[str, ...]

    @property
    def faults(self) -> int:
        """How many things need mending: 0 is a clean bill."""
        return len(self.problems) + len(self.refused) + len(self.table_faults) + sum(d.harmful for d in self.duplicates)


def check(dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Decode every photograph and count.

    Args:
        dataset: loaded with `skip_bad`, so that its problems are listed and not raised.
        progress: called with photographs read and photographs in all.
    """
    samples = dataset.samples
    fingerprints: list[str | None] = []
    hashes: list[Bits | None] = []
    refused: list[Problem] = []
    # Pillow decodes without holding the interpreter's lock.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(_fingerprint, samples), start=1):
            if isinstance(result, Problem):
                refused.append(result)
                fingerprints.append(None)
                hashes.append(None)
            else:
                fingerprints.append(result[0])
                hashes.append(result[1])
            if progress is not None:
                progress(done, len(samples))
    return CheckReport(
        name=dataset.name,
        spec=dataset.spec,
        images=len(samples),
        patients=len({s.patient_id for s in samples}),
        icdr=_grades(s.labels.icdr for s in samples),
        sdrg=_grades(s.labels.sdrg for s in samples),
        macular_edema=_grades(s.labels.macular_edema for s in samples),
        missing=_missing(samples),
        distinct_notes=len({s.note for s in samples if s.note.strip()}),
        findings=dict(Counter(f for s in samples for f in s.findings).most_common()),
        cameras=dict(Counter(s.camera for s in samples if s.camera).most_common()),
        duplicates=tuple(_duplicates(samples, fingerprints)),
        near_duplicates=tuple(_near(samples, fingerprints, hashes)),
        refused=tuple(refused),
        problems=dataset.problems,
        table_faults=dataset.faults,
        remarks=dataset.remarks,
    )


def _fingerprint(sample: Sample) -> tuple[str | None, Bits | None] | Problem:
    """Hash of the decoded pixels, and the perceptual one; a problem where there are none."""
    try:
        image_bytes = sample.image_bytes()
        if image_bytes is None:
            return None, None
        rgb_HWC = decode(image_bytes, _SPEC)
    except (ImageError, DataError) as error:
        return Problem(row=sample.row, id=sample.id, what=str(error))
    return hashlib.sha256(repr(rgb_HWC.shape).encode() + rgb_HWC.tobytes()).hexdigest(), perceptual_hash(rgb_HWC)


def _grades(grades: Iterable[int | None]) -> dict[str, int]:
    counts = Counter(grades)
    found = {str(grade): counts[grade] for grade in sorted(g for g in counts if g is not None)}
    return found | ({"missing": counts[None]} if counts[None] else {})


def _missing(samples: tuple[Sample, ...]) -> dict[str, int]:
    counts = {"image": sum(s.image_path is None for s in samples), "note": sum(not s.note.strip() for s in samples)}
    for name in FEATURES:
        counts[name] = sum(s.record is None or getattr(s.record, name) is None for s in samples)
    return counts


def _duplicates(samples: tuple[Sample, ...], fingerprints: list[str | None]) -> list[Duplicate]:
    groups: dict[str, list[Sample]] = {}
    for sample, fingerprint in zip(samples, fingerprints, strict=True):
        if fingerprint is not None:
            groups.setdefault(fingerprint, []).append(sample)
    return [
        Duplicate(
            ids=tuple(s.id for s in group),
            patients=len({s.patient_id for s in group}),
            contradicting=len({s.labels for s in group}) > 1,
        )
        for group in groups.values()
        if len(group) > 1
    ]


def _near(samples: tuple[Sample, ...], fingerprints: list[str | None], hashes: list[Bits | None]) -> Iterator[NearDuplicate]:
    hashed = [(i, bits) for i, bits in enumerate(hashes) if bits is not None]
    for i, j, agreement in near_pairs([bits for _, bits in hashed]):
        one, other = hashed[i][0], hashed[j][0]
        if fingerprints[one] != fingerprints[other]:
            yield NearDuplicate(
                ids=(samples[one].id, samples[other].id),
                patients=len({samples[one].patient_id, samples[other].patient_id}),
                agreement=round(agreement, 3),
            )
