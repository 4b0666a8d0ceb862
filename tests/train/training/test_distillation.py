"""Soft targets: compared as they will be served, with what each pass shows, and only where a teacher has an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from graded import noise_arrays

from foveal_runtime.study.labels import GRADES, ICDR, MISSING, SCHEMES
from foveal_train.model.fusion import Fused
from foveal_train.model.weights import build_model
from foveal_train.runs.predict import predict
from foveal_train.training.distillation import (
    GRADES_LOSS,
    VECTORS_LOSS,
    WAYS,
    BatchTargets,
    Pass,
    SoftTargets,
    distillation_losses,
    soft_grading_loss,
    way_codes,
)
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.student import DistillationConfig
from foveal_train.training.trainer import Studies, Trainer

COUNT, ROWS, DIM = 16, 3, 256
FULL = WAYS - 1


def _fused(seed: int) -> Fused:
    draw = torch.Generator().manual_seed(seed)
    joint, cls = torch.randn(ROWS, DIM, generator=draw), torch.randn(ROWS, 3, DIM, generator=draw)
    logits = torch.randn(2, ROWS, GRADES, generator=draw)
    return Fused(F.normalize(joint, dim=-1), F.normalize(cls, dim=-1), dict(zip(SCHEMES, logits, strict=True)))


def _targets(fused: Fused, way: int, *, temperature: float = 1.0) -> BatchTargets:
    """Those of a teacher that answers one way of showing a study, as `fused` does."""
    probabilities = np.full((ROWS, WAYS, GRADES), 0.2, np.float32)
    probabilities[:, way] = (fused.logits[ICDR] / temperature).softmax(-1).numpy()
    known = np.zeros((ROWS, WAYS), bool)
    known[:, way] = True
    vectors = np.zeros((ROWS, WAYS, DIM), np.float16)
    vectors[:, way] = fused.joint_BD.numpy()
    return BatchTargets(
        codes_B=np.full(ROWS, way),
        probabilities={ICDR: probabilities},
        graded={ICDR: known},
        vectors_BWD=vectors,
        known_BW=known,
    )


def _losses(student: Fused, targets: BatchTargets, way: int, shift: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    prior = {ICDR: torch.zeros(GRADES) if shift is None else shift}
    passes = [Pass(student, np.arange(ROWS), np.full(ROWS, way))]
    return distillation_losses(passes, targets, DistillationConfig(), prior)


def test_who_answers_as_the_teacher_does_has_nothing_to_learn() -> None:
    own = _losses(_fused(0), _targets(_fused(0), FULL), FULL)
    assert float(own[GRADES_LOSS]) == pytest.approx(0, abs=1e-5)
    assert float(own[VECTORS_LOSS]) == pytest.approx(0, abs=1e-3)
    other = _losses(_fused(1), _targets(_fused(0), FULL), FULL)
    assert float(other[GRADES_LOSS]) > 0.1
    assert float(other[VECTORS_LOSS]) > 0.5


def test_targets_have_the_prevalence_of_the_data_and_are_compared_with_logits_that_will_have_it() -> None:
    shift = torch.tensor([0.0, -1.0, -2.0, -0.5, -3.0])
    teacher = _fused(0)
    student = teacher._replace(logits={**teacher.logits, ICDR: teacher.logits[ICDR] - shift})
    assert float(_losses(student, _targets(teacher, FULL), FULL, shift)[GRADES_LOSS]) == pytest.approx(0, abs=1e-5)
    assert float(_losses(student, _targets(teacher, FULL), FULL)[GRADES_LOSS]) > 0.1


def test_a_pass_is_compared_with_what_the_teacher_says_of_the_same_modalities() -> None:
    image_alone, teacher = 1, _fused(0)
    assert _losses(teacher, _targets(teacher, image_alone), image_alone).keys() == {GRADES_LOSS, VECTORS_LOSS}
    assert _losses(teacher, _targets(teacher, FULL), image_alone) == {}


def test_a_temperature_softens_both_sides() -> None:
    logits, probabilities = torch.tensor([[4.0, 0, 0, 0, 0]]), torch.tensor([[0.5, 0.5, 0, 0, 0]])
    student = F.log_softmax(logits / 3, -1)
    teacher = F.softmax(probabilities.clamp(min=1e-6).log() / 3, -1)
    expected = float((teacher * (teacher.log() - student)).sum() * 9)
    assert float(soft_grading_loss(logits, probabilities, 3.0)) == pytest.approx(expected, rel=1e-5)


def test_ways_are_bits_in_the_order_of_modalities() -> None:
    shown = np.asarray([[True, False, False], [False, True, True], [True, True, True], [False, False, False]])
    assert way_codes(shown).tolist() == [1, 6, 7, 0]


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ("optimiser.epochs=6", "optimiser.batch_size=8", "image_spec.side_px=32", *overrides))


def test_a_student_without_a_single_label_comes_to_answer_as_its_teacher() -> None:
    recipe = _recipe("modality_dropout=0", "augmentation.horizontal_flip=false", "augmentation.vertical_flip=false")
    arrays = noise_arrays(COUNT)
    teacher = predict(build_model(recipe.model, seed=5).model, arrays)
    known = np.zeros((COUNT, WAYS), bool)
    known[:, FULL] = True
    probabilities = np.zeros((COUNT, WAYS, GRADES), np.float32)
    truth = np.eye(GRADES, dtype=np.float32)[arrays.labels[ICDR]]
    probabilities[:, FULL] = 0.9 * truth + 0.02
    vectors = np.zeros((COUNT, WAYS, DIM), np.float16)
    vectors[:, FULL] = teacher.joint_ND
    targets = SoftTargets(probabilities={ICDR: probabilities}, graded={ICDR: known}, vectors_NWD=vectors, known_NW=known)
    unlabelled = replace(arrays, labels={head: np.full(COUNT, MISSING, np.int64) for head in SCHEMES})

    def cosine(taught: SoftTargets | None) -> float:
        model = build_model(recipe.model, seed=0).model
        fitted = Trainer(model, recipe, Studies(train=unlabelled, targets=taught), (ICDR,)).fit()
        assert ({GRADES_LOSS, VECTORS_LOSS} <= fitted.history[-1]["train"].keys()) == (taught is not None)
        if taught is not None:
            assert fitted.history[-1]["train"][GRADES_LOSS] < fitted.history[0]["train"][GRADES_LOSS]
        return float((predict(model, arrays).joint_ND * teacher.joint_ND).sum(-1).mean())

    assert cosine(targets) > cosine(None) + 0.3
