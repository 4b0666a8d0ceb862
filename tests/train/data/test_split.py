"""Patients and duplicate photographs never cross; parts are stratified, seeded and never silently empty."""

from __future__ import annotations

import io
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal_runtime.errors import DataError
from foveal_train.data import Labels, Sample, Split, load, split_patients
from foveal_train.data.duplicates import content_hash


def parts(split: Split) -> tuple[tuple[Sample, ...], ...]:
    return split.train, split.validation, split.test


def samples_of(grades: list[list[int | None]]) -> list[Sample]:
    """One patient an entry, one sample a grade; no images."""
    return [
        Sample(id=f"{p}-{i}", patient_id=f"p{p}", image_path=None, labels=Labels(icdr=grade))
        for p, eyes in enumerate(grades)
        for i, grade in enumerate(eyes)
    ]


def test_no_patient_and_no_duplicate_photograph_crosses(copied: Path) -> None:
    photographs = sorted((copied / "fundus_photos").iterdir())
    # Photographs of patients 1 to 20 turn up again under patients 31 to 50.
    for source, target in zip(photographs[:40:2], photographs[60:100:2], strict=True):
        shutil.copyfile(source, target)
    samples = load(f"brset:{copied}").samples
    for seed in range(5):
        split = split_patients(samples, seed=seed)
        patients = [{s.patient_id for s in part} for part in parts(split)]
        contents = [{content_hash(s.image_bytes() or b"") for s in part} for part in parts(split)]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not patients[one] & patients[other]
            assert not contents[one] & contents[other]
        assert sum(len(part) for part in parts(split)) == len(samples)


def test_a_copy_without_its_exif_is_the_same_photograph() -> None:
    image = Image.effect_mandelbrot((64, 64), (-2, -2, 2, 2), 40).convert("RGB")
    plain, marked = io.BytesIO(), io.BytesIO()
    image.save(plain, "JPEG", quality=90)
    exif = Image.Exif()
    exif[271] = "a camera"
    image.save(marked, "JPEG", quality=90, exif=exif, comment=b"again")
    assert plain.getvalue() != marked.getvalue()
    assert content_hash(plain.getvalue()) == content_hash(marked.getvalue())
    other = io.BytesIO()
    image.rotate(90).save(other, "JPEG", quality=90)
    assert content_hash(other.getvalue()) != content_hash(plain.getvalue())


def test_parts_hold_their_share_of_patients_and_of_every_grade() -> None:
    grades: list[list[int | None]] = [[g, 0] for g in (0,) * 300 + (1,) * 60 + (2,) * 100 + (3,) * 20 + (4,) * 20]
    split = split_patients(samples_of(grades), seed=3)
    assert [len({s.patient_id for s in part}) for part in parts(split)] == [400, 50, 50]
    for part, share in zip(parts(split), (0.8, 0.1, 0.1), strict=True):
        worst = Counter(s.labels.icdr for s in part if s.id.endswith("-0"))
        for grade, total in ((0, 300), (1, 60), (2, 100), (3, 20), (4, 20)):
            assert abs(worst[grade] - share * total) <= 1.5


def test_the_same_seed_gives_the_same_parts_in_any_order_and_another_seed_others() -> None:
    samples = samples_of([[i % 5] for i in range(100)])
    shuffled = random.Random(1).sample(samples, len(samples))
    first, second = split_patients(samples, seed=1), split_patients(shuffled, seed=1)
    assert {s.id for s in first.test} == {s.id for s in second.test}
    assert {s.id for s in split_patients(samples, seed=2).test} != {s.id for s in first.test}


def test_an_empty_part_is_refused_unless_it_was_asked_for() -> None:
    samples = samples_of([[0], [1]])
    with pytest.raises(DataError, match=r"validation part of 2 patients would be empty|test part of 2 patients"):
        split_patients(samples)
    split = split_patients(samples, fractions=(0.5, 0.0, 0.5))
    assert [len(part) for part in parts(split)] == [1, 0, 1]


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_must_add_up(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="add up to 1"):
        split_patients(samples_of([[0]] * 20), fractions=fractions)


def test_a_photograph_that_vanished_is_named(generated: Path) -> None:
    samples = load(f"brset:{generated}").samples
    gone = replace(samples[0], image_path=generated / "gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg can't be read"):
        split_patients([gone, *samples[1:]])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([None, 0, 1, 2, 3, 4]), min_size=1, max_size=3), min_size=30, max_size=80),
    st.integers(0, 99),
)
def test_any_cohort_is_split_whole_and_by_patient(grades: list[list[int | None]], seed: int) -> None:
    samples = samples_of(grades)
    split = split_patients(samples, seed=seed)
    assert sorted(s.id for part in parts(split) for s in part) == sorted(s.id for s in samples)
    patients = [{s.patient_id for s in part} for part in parts(split)]
    assert sum(len(p) for p in patients) == len(grades)
    assert len(patients[0]) == pytest.approx(0.8 * len(grades), abs=1.5)
