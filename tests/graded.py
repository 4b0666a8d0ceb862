"""Made-up graded studies, decoded, with every quirk that evaluation must survive. No photograph; the numbers mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.labels import CLASSES, ICDR, MISSING, SCHEMES, SDRG, Head
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.record import FeatureStats, encode_record
from foveal_runtime.study.study import ALL_SUBSETS, Eye, Modality, Record, Sex, Subset, subset_name
from foveal_train.data import Labels, Sample
from foveal_train.data.notes import Finding, note_of, without_dr
from foveal_train.model.profile import profile
from foveal_train.training.arrays import StudyArrays, with_notes


@dataclass(frozen=True)
class Trained:
    """What evaluation must know of a run."""

    trained_heads: tuple[Head, ...] = SCHEMES
    subsets: tuple[Subset, ...] = ALL_SUBSETS
    aligned: tuple[Modality, ...] = tuple(Modality)
    head_classes: Mapping[Head, Sequence[str]] = field(default_factory=lambda: CLASSES)
    calibration: dict[str, SubsetCalibration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.calibration:
            points = (OperatingPoint(name="default 0.5", threshold=0.5),)
            fitted = {
                subset_name(s): SubsetCalibration(temperature=dict.fromkeys(SCHEMES, 2.0), operating_points=points)
                for s in self.subsets
            }
            object.__setattr__(self, "calibration", fitted)


def make_samples(count: int, *, seed: int = 0) -> list[Sample]:
    """Two eyes a patient; half without a note, as in BRSET; grades 0 to 4, some unknown."""
    rng = np.random.default_rng(seed)
    others = [f for f in Finding if f is not Finding.DIABETIC_RETINOPATHY]
    samples = []
    for row in range(count):
        grade = int(rng.choice(5, p=[0.6, 0.1, 0.1, 0.1, 0.1]))
        findings: set[Finding] = {others[int(i)] for i in rng.choice(3, rng.integers(0, 3), replace=False)}
        findings |= {Finding.DIABETIC_RETINOPATHY} if grade else set()
        note = note_of(findings)
        record = Record(
            age_years=float(rng.integers(20, 90)), sex=Sex.MALE if rng.random() < 0.5 else Sex.FEMALE, eye=list(Eye)[row % 2]
        )
        samples.append(
            Sample(
                id=f"img{row:05d}",
                patient_id=f"test:{row // 2}",
                image_path=None,
                note=note,
                note_without_dr=without_dr(note),
                record=None if row % 7 == 0 else record,
                labels=Labels(icdr=None if row % 11 == 0 else grade, sdrg=grade),
                camera=("A", "B")[row % 3 == 0],
                findings=tuple(sorted(findings)),
            )
        )
    return samples


def make_arrays(samples: list[Sample], tokenise: NoteTokeniser, *, seed: int = 0) -> StudyArrays:
    """Arrays of noise photographs, brighter with the grade."""
    config, stats, count = profile("tiny"), FeatureStats(), len(samples)
    side = config.image_spec.side_px
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 100, (count, side, side, 3), dtype=np.uint8)
    present = np.ones((count, 3), bool)
    features = np.zeros((count, 6), np.float32)
    for row, sample in enumerate(samples):
        squares[row] += np.uint8(30 * (sample.labels.sdrg or 0))
        present[row, 2] = sample.record is not None
        if sample.record is not None:
            features[row] = encode_record(sample.record, stats).features_F
    arrays = StudyArrays(
        ids=tuple(s.id for s in samples),
        squares_NSSC=squares,
        notes=(),
        features_NF=features,
        present_NM=present,
        labels={
            ICDR: np.asarray([MISSING if s.labels.icdr is None else s.labels.icdr for s in samples], np.int64),
            SDRG: np.asarray([MISSING if s.labels.sdrg is None else s.labels.sdrg for s in samples], np.int64),
        },
        note_groups_N=np.zeros(count, np.int64),
        image_spec=config.image_spec,
        samples=tuple(samples),
    )
    return with_notes(arrays, [s.note for s in samples], tokenise)


def noise_arrays(count: int) -> StudyArrays:
    """Studies of noise that have everything, graded at random by ICDR."""
    rng = np.random.default_rng(0)
    return StudyArrays(
        ids=tuple(str(i) for i in range(count)),
        squares_NSSC=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        notes=tuple(np.asarray([101, 2000 + i % 5, 102], np.int64) for i in range(count)),
        features_NF=rng.normal(size=(count, 6)).astype(np.float32),
        present_NM=np.ones((count, len(Modality)), bool),
        labels={ICDR: rng.integers(0, 5, count).astype(np.int64), SDRG: np.full(count, MISSING, np.int64)},
        note_groups_N=np.arange(count) % 5,
        image_spec=ImageSpec(side_px=32),
        samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(count)),
    )
