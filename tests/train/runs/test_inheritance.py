"""A student's split: what a teacher held out stays held out, and what can't be held out is said or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from foveal_runtime.errors import ConfigError
from foveal_train.data import Labels, Sample, Split
from foveal_train.runs.inheritance import inherit, unlabelled
from foveal_train.training.recipe_file import load_recipe

RECIPE = load_recipe("tiny")
ONE, OTHER = Path("one"), Path("other")


def _samples(count: int = 10) -> list[Sample]:
    """Two photographs a patient."""
    return [Sample(id=str(i), patient_id=f"p{i // 2}", image_path=None, labels=Labels(icdr=i // 2 % 5)) for i in range(count)]


def _split(train: str, validation: str, test: str) -> dict[str, list[str]]:
    return {"train": train.split(), "validation": validation.split(), "test": test.split()}


def _ids(samples: tuple[Sample, ...]) -> str:
    return " ".join(sample.id for sample in samples)


def test_the_teachers_split_is_the_students() -> None:
    found = inherit(_samples(), RECIPE, {ONE: _split("0 1 4 5 8 9", "2 3", "6 7")}, not_held_out=False)
    assert (_ids(found.split.train), _ids(found.split.validation), _ids(found.split.test)) == ("0 1 4 5 8 9", "2 3", "6 7")
    assert found.warnings == ()


def test_training_and_validation_of_two_teachers_may_differ_and_what_both_validated_on_stays_validation() -> None:
    splits = {ONE: _split("0 1 8 9", "2 3 4 5", "6 7"), OTHER: _split("0 1 4 5", "2 3 8 9", "6 7")}
    found = inherit(_samples(), RECIPE, splits, not_held_out=False)
    assert (_ids(found.split.train), _ids(found.split.validation), _ids(found.split.test)) == ("0 1 4 5 8 9", "2 3", "6 7")
    assert found.warnings == ()


def test_without_common_validation_studies_the_first_teachers_are_taken_and_that_is_said() -> None:
    splits = {ONE: _split("0 1 8 9", "4 5", "6 7"), OTHER: _split("4 5 0 1", "8 9", "6 7")}
    found = inherit(_samples(), RECIPE, splits, not_held_out=False)
    assert _ids(found.split.validation) == "4 5"
    assert found.learnt_validation == 2
    assert "learnt from 2 of the 2 validation studies" in found.warnings[0]


def test_what_one_teacher_held_out_and_another_learnt_from_is_refused_or_said_and_never_learnt_from() -> None:
    splits = {ONE: _split("0 1 2 3 4 5", "8 9", "6 7"), OTHER: _split("4 5 6 7 2 3", "8 9", "0 1")}
    with pytest.raises(ConfigError, match=r"do not hold out the same studies.*learnt from 4.*--not-held-out"):
        inherit(_samples(), RECIPE, splits, not_held_out=False)
    found = inherit(_samples(), RECIPE, splits, not_held_out=True)
    assert _ids(found.split.test) == "0 1 6 7"
    assert found.warnings[0] == "figures are NOT held out: teachers have learnt from 4 of the 4 test studies"


def test_the_other_eye_of_a_held_out_patient_is_held_out_as_well() -> None:
    found = inherit(_samples(), RECIPE, {ONE: _split("0 1 2 3 4 5", "8 9", "6")}, not_held_out=False)
    assert _ids(found.split.test) == "6 7"
    assert found.strange == 1


def test_studies_that_no_teacher_knows_are_split_as_the_recipe_says() -> None:
    many = _samples(80)
    found = inherit(many, RECIPE, {ONE: _split("0 1 2 3 4 5", "8 9", "6 7")}, not_held_out=False)
    assert {"6", "7"} < {sample.id for sample in found.split.test}
    assert {"8", "9"} < {sample.id for sample in found.split.validation}
    assert found.strange == 70
    assert "names 70 of the studies" in found.warnings[0]


def _photograph(path: Path, seed: int, *, quality: int = 95) -> Path:
    """An eye with blots of its own."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (240, 240))
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 236, 236), fill=(150, 80, 50))
    for x, y in rng.integers(20, 220, (160, 2)):
        draw.ellipse((x, y, x + 8, y + 8), fill=(60, 20, 20) if rng.random() < 0.5 else (230, 190, 120))
    image.save(path, quality=quality)
    return path


def test_photographs_without_labels_are_none_that_the_student_is_judged_on(tmp_path: Path) -> None:
    def photograph(name: str, seed: int, patient: str, *, quality: int = 95) -> Sample:
        path = _photograph(tmp_path / f"{name}.jpg", seed, quality=quality)
        return Sample(id=name, patient_id=patient, image_path=path, note="a note", labels=Labels(icdr=2))

    train, test = photograph("a", 1, "p1"), photograph("b", 2, "p2")
    others = [
        photograph("copy of a", 1, "q1"),
        photograph("a encoded anew", 1, "q1", quality=60),
        photograph("copy of b", 2, "q2"),
        photograph("b encoded anew", 2, "q2", quality=60),
        photograph("the same patient", 3, "p2"),
        photograph("new", 4, "q3"),
        photograph("new again", 4, "q4"),
        Sample(id="no photograph", patient_id="q5", image_path=None),
    ]
    kept, left_out = unlabelled(others, Split(train=(train,), validation=(), test=(test,)))
    assert [sample.image_path for sample in kept] == [tmp_path / "new.jpg"]
    assert left_out == 3
    assert kept[0].labels == Labels()
    assert not kept[0].note.strip()
