"""What teachers say: as the teacher itself says it, mirrored as it was trained, and asked once for each content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality, subset_of
from foveal_train.data import Sample, load
from foveal_train.runs import answers
from foveal_train.runs.answers import Answers, ask, mirrors
from foveal_train.runs.predict import predict
from foveal_train.runs.teachers import Teacher, open_teachers
from foveal_train.training.arrays import load_arrays
from foveal_train.training.distillation import WAYS


@pytest.fixture(scope="module")
def teacher(tiny_run: Path) -> Teacher:
    return open_teachers([tiny_run])[0]


@pytest.fixture(scope="module")
def samples(few_spec: str) -> list[Sample]:
    return list(load(few_spec).samples[:6])


def _ask(teacher: Teacher, samples: list[Sample], folder: Path, *, flips: bool = False) -> Answers:
    return ask(teacher, samples, folder, flips=flips, device=torch.device("cpu"), progress=lambda *_: None)


def test_answers_are_the_teachers_calibrated_probabilities_and_joint_vectors(
    tmp_path: Path, teacher: Teacher, samples: list[Sample]
) -> None:
    found = _ask(teacher, samples, tmp_path)
    info = teacher.run.info
    tokenise = NoteTokeniser(teacher.run.tokenizer_json, info.model.text_spec)
    arrays = load_arrays(samples, image_spec=info.model.image_spec, tokenise=tokenise, features=info.features)
    for name, way in (("image", 1), ("image+structured", 5)):
        expected = predict(teacher.run.model, arrays, subset=subset_of(name))
        probabilities = info.calibration[name].probabilities(ICDR, expected.logits[ICDR])
        np.testing.assert_allclose(found.probabilities[ICDR][expected.rows, way], probabilities, atol=1e-5)
        np.testing.assert_allclose(found.joint_NWD[expected.rows, way], expected.joint_ND, atol=1e-3)
    assert not found.known_NW[:, 0].any()
    assert (found.known_NW[:, WAYS - 1] == arrays.present_NM.all(axis=1)).all()


def test_mirrored_photographs_count_as_the_teacher_was_trained(tmp_path: Path, teacher: Teacher, samples: list[Sample]) -> None:
    plain, mirrored = _ask(teacher, samples, tmp_path), _ask(teacher, samples, tmp_path, flips=True)
    assert len(mirrors(teacher)) == 4
    assert not np.allclose(plain.probabilities[ICDR][:, 1], mirrored.probabilities[ICDR][:, 1])
    # A note alone has no sides.
    np.testing.assert_allclose(plain.probabilities[ICDR][:, 2], mirrored.probabilities[ICDR][:, 2], atol=1e-6)
    info = teacher.run.info
    arrays = load_arrays(
        samples, image_spec=info.model.image_spec, tokenise=None, features=info.features, modalities=[Modality.IMAGE]
    )
    turned = [replace(arrays, squares_NSSC=arrays.squares_NSSC[:, ::up, ::side]) for up in (1, -1) for side in (1, -1)]
    each = [predict(teacher.run.model, one, subset=subset_of("image")).logits[ICDR] for one in turned]
    mean = np.mean([info.calibration["image"].probabilities(ICDR, logits) for logits in each], axis=0)
    np.testing.assert_allclose(mirrored.probabilities[ICDR][:, 1], mean, atol=1e-5)


def test_a_study_is_asked_about_once_whatever_it_is_called_and_again_when_it_changes(
    tmp_path: Path, teacher: Teacher, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = answers._asked

    def counting(teacher: Teacher, samples: list[Sample], sides: object) -> Answers:
        asked.append(len(samples))
        return original(teacher, samples, sides)  # type: ignore[arg-type]

    monkeypatch.setattr(answers, "_asked", counting)
    first = _ask(teacher, samples, tmp_path)
    renamed = [replace(sample, id=f"other {sample.id}") for sample in reversed(samples)]
    again = _ask(teacher, renamed, tmp_path)
    assert asked == [len(samples)]
    np.testing.assert_array_equal(first.joint_NWD, again.joint_NWD[::-1])
    _ask(teacher, [*samples[1:], replace(samples[0], note="Another note.")], tmp_path)
    assert asked == [len(samples), 1]
    _ask(replace(teacher, fingerprint="of another run"), samples[:2], tmp_path)
    assert asked == [len(samples), 1, 2]


def test_a_damaged_file_of_answers_is_named(tmp_path: Path, teacher: Teacher, samples: list[Sample]) -> None:
    _ask(teacher, samples[:2], tmp_path)
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"can't be read; remove that file"):
        _ask(teacher, samples[:2], tmp_path)
