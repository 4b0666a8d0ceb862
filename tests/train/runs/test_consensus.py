"""Several teachers as one: probabilities are averaged, spaces turned onto each other before their vectors are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import GRADES, ICDR, SCHEMES, SDRG, Head
from foveal_train.runs.answers import Answers
from foveal_train.runs.consensus import agreed
from foveal_train.training.distillation import WAYS

COUNT, DIM, FULL = 40, 8, WAYS - 1


def _teacher(*heads: Head) -> Any:
    return SimpleNamespace(run=SimpleNamespace(info=SimpleNamespace(trained_heads=heads)))


def _answers(vectors: np.ndarray, way: int = FULL, probability: float = 0.5) -> Answers:
    joint = np.zeros((len(vectors), WAYS, vectors.shape[1]))
    joint[:, way] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    probabilities = np.zeros((len(vectors), WAYS, GRADES), np.float32)
    probabilities[:, way, 0], probabilities[:, way, 4] = probability, 1 - probability
    known = np.zeros((len(vectors), WAYS), bool)
    known[:, way] = True
    return Answers(probabilities=dict.fromkeys(SCHEMES, probabilities), joint_NWD=joint.astype(np.float16), known_NW=known)


def _rotation(rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]


def test_a_single_teachers_vectors_stay_as_they_are() -> None:
    own = _answers(np.random.default_rng(0).normal(size=(COUNT, DIM)))
    targets, agreement = agreed([_teacher(ICDR)], [own])
    np.testing.assert_array_equal(targets.vectors_NWD, own.joint_NWD)
    assert agreement == (pytest.approx(1.0, abs=1e-3),)
    assert targets.graded.keys() == {ICDR}


def test_spaces_that_differ_by_a_rotation_become_one_and_cosines_stay() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(COUNT, DIM))
    answers = [_answers(vectors @ _rotation(rng)) for _ in range(3)]
    targets, agreement = agreed([_teacher(ICDR)] * 3, answers)
    assert min(agreement) > 0.999
    found = targets.vectors_NWD[:, FULL].astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=5e-3)
    # Without the turning, the mean would have lost most of it.
    plain = sum(each.joint_NWD[:, FULL].astype(np.float64) for each in answers) / 3
    assert np.linalg.norm(plain, axis=-1).mean() < 0.8


def test_probabilities_are_the_mean_of_those_who_know_the_head_and_the_way() -> None:
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIM))
    both = _answers(vectors, probability=0.2)
    one = _answers(vectors, probability=0.6)
    targets, _ = agreed([_teacher(ICDR, SDRG), _teacher(ICDR)], [both, one])
    assert targets.probabilities[ICDR][0, FULL, 0] == pytest.approx(0.4)
    assert targets.probabilities[SDRG][0, FULL, 0] == pytest.approx(0.2)
    assert not targets.graded[ICDR][:, 1].any()


def test_teachers_of_different_modalities_have_no_common_space() -> None:
    vectors = np.random.default_rng(0).normal(size=(COUNT, DIM))
    pair = [_answers(vectors, way=1), _answers(vectors, way=2)]
    with pytest.raises(ConfigError, match="no modality subset in common"):
        agreed([_teacher(ICDR)] * 2, pair)
    targets, agreement = agreed([_teacher(ICDR)] * 2, pair, vectors=False)
    assert not targets.known_NW.any()
    assert agreement == ()
    assert targets.graded[ICDR][:, [1, 2]].all()
