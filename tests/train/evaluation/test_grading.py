"""Grading figures against scikit-learn and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, confusion_matrix, recall_score

from foveal_train.evaluation import grading
from foveal_train.evaluation.intervals import Resamples, resample

pytestmark = pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")


def answers(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    return truth, np.clip(truth + rng.choice([-1, 0, 0, 0, 1, 2], n), 0, 4)


def expand(row: np.ndarray) -> np.ndarray:
    """Studies of one replicate, each as often as it was drawn."""
    return np.repeat(np.arange(len(row)), row.astype(int))


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_those_of_scikit_learn(seed: int) -> None:
    truth, answer = answers(seed=seed)
    matrix = grading.confusion_matrix(truth, answer)
    np.testing.assert_array_equal(matrix, confusion_matrix(truth, answer, labels=range(5)))
    assert grading.quadratic_kappa(matrix) == pytest.approx(cohen_kappa_score(truth, answer, weights="quadratic"))
    assert grading.balanced_accuracy(matrix) == pytest.approx(balanced_accuracy_score(truth, answer))
    np.testing.assert_allclose(grading.recall(matrix), recall_score(truth, answer, average=None, labels=range(5)))
    assert grading.accuracy(matrix) == pytest.approx((truth == answer).mean())


def test_every_replicate_equals_scikit_learn_on_the_resampled_studies() -> None:
    truth, answer = answers(120)
    drawn = resample([str(i // 2) for i in range(120)], count=25, seed=1)
    many = grading.confusion_replicates(truth, answer, drawn)
    kappas, balanced = grading.quadratic_kappa(many), grading.balanced_accuracy(many)
    for replicate in range(25):
        rows = expand(drawn.weights_RN[replicate])
        assert kappas[replicate] == pytest.approx(
            cohen_kappa_score(truth[rows], answer[rows], weights="quadratic", labels=range(5))
        )
        assert balanced[replicate] == pytest.approx(balanced_accuracy_score(truth[rows], answer[rows]))


def test_always_answering_the_majority_grade_has_no_kappa_and_is_not_above_the_majority() -> None:
    truth = np.repeat([0, 1, 2, 3, 4], [94, 2, 2, 1, 1])
    drawn = resample([str(i) for i in range(100)], count=200, seed=0)
    found = grading.grade_figures(truth, np.zeros(100, np.int64), drawn)
    assert found["accuracy"]["value"] == pytest.approx(0.94)
    assert found["majority"]["grade"] == 0
    assert found["majority"]["accuracy"]["value"] == pytest.approx(0.94)
    assert found["above_majority"]["value"] == 0
    assert found["above_majority"]["interval"] == [0, 0]
    assert found["kappa"]["value"] == 0
    assert found["balanced_accuracy"]["value"] == found["majority"]["balanced_accuracy"] == pytest.approx(0.2)
    assert found["counts"] == [94, 2, 2, 1, 1]


def test_a_grade_that_does_not_occur_has_no_recall_but_a_reason() -> None:
    truth = np.asarray([0, 0, 1, 1] * 10)
    drawn = resample([str(i) for i in range(40)], count=50, seed=0)
    found = grading.grade_figures(truth, truth, drawn)
    assert found["recall"][4] == {"value": None, "interval": None, "n": 0, "reason": "no study of this grade"}
    assert found["balanced_accuracy"]["value"] == 1


def test_kappa_of_one_and_the_same_grade_is_undefined_and_says_why() -> None:
    zeros = np.zeros(30, np.int64)
    found = grading.grade_figures(zeros, zeros, resample([str(i) for i in range(30)], count=20, seed=0))
    assert found["kappa"]["value"] is None
    assert "same grade" in found["kappa"]["reason"]


def test_quadratic_kappa_of_a_worked_example() -> None:
    # Two studies right, one two grades off: observed 4/16, expected by hand over the margins (2,0,1) x (1,0,2).
    matrix = np.zeros((5, 5))
    matrix[0, 0] = matrix[2, 2] = 1
    matrix[0, 2] = 1
    expected = (2 * 2 * 4 / 16 + 1 * 1 * 4 / 16) / 3
    assert grading.quadratic_kappa(matrix) == pytest.approx(1 - (4 / 16) / expected)


def test_recall_interval_rests_on_the_patients_of_that_grade() -> None:
    truth = np.asarray([0] * 60 + [4] * 3)
    answer = truth.copy()
    drawn = resample([str(i) for i in range(63)], count=300, seed=0)
    found = grading.grade_figures(truth, answer, drawn)["recall"][4]
    # Three of three is no certainty: the exact bound is 0.025 ** (1/3).
    assert found["interval"] == pytest.approx([0.025 ** (1 / 3), 1.0])
    assert found["n"] == 3


def test_resamples_are_of_the_same_type_at_some_rows() -> None:
    drawn = resample(["a", "a", "b", "c"], count=10, seed=0)
    part = drawn.at(np.asarray([True, True, False, False]))
    assert isinstance(part, Resamples)
    assert (len(part), part.patients) == (2, 1)
