"""Grade sets against sets worked out by hand, and what they promise against draws."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_runtime.study.gradeset import grade_set, set_quantile, set_scores


def test_a_set_grows_from_the_likeliest_grade_to_its_likelier_neighbour() -> None:
    probabilities = np.asarray([[0.05, 0.15, 0.5, 0.2, 0.1]])
    # Before 2 stands nothing, before 3 the 0.5 of 2, before 1 both, and so on: of what is left 0.1 (grade 4) beats 0.05.
    np.testing.assert_allclose(set_scores(probabilities), [[0.95, 0.7, 0.0, 0.5, 0.85]])


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.0, (2,)), (0.5, (2, 3)), (0.7, (1, 2, 3)), (0.9, (1, 2, 3, 4)), (1.0, (0, 1, 2, 3, 4))]
)
def test_a_set_holds_the_grades_within_the_quantile_and_always_the_likeliest(
    quantile: float, expected: tuple[int, ...]
) -> None:
    assert grade_set(np.asarray([0.05, 0.15, 0.5, 0.2, 0.1]), quantile) == expected


def test_sets_have_no_gap_and_sure_answers_have_one_grade() -> None:
    rng = np.random.default_rng(0)
    for probabilities in rng.dirichlet(np.full(5, 0.3), 300):
        found = grade_set(probabilities, 0.6)
        assert list(found) == list(range(found[0], found[-1] + 1))
        assert int(probabilities.argmax()) in found
    assert grade_set(np.asarray([0.0, 0.01, 0.98, 0.01, 0.0]), 0.9) == (2,)


def test_one_study_has_the_set_that_many_would_give_it() -> None:
    rng = np.random.default_rng(2)
    for grades in (2, 3, 5):
        many = rng.dirichlet(np.full(grades, 0.4), 300).round(1)  # rounded: neighbours tie, and some have no chance at all
        for probabilities, scores in zip(many, set_scores(many), strict=True):
            for quantile in (0.0, 0.3, 0.5, float(scores.max()), 1.0):
                assert grade_set(probabilities, quantile) == tuple(np.flatnonzero(scores <= quantile))


def test_too_few_studies_for_the_coverage_take_all_grades_in() -> None:
    assert set_quantile(np.zeros(8), 0.9) == 1.0
    assert set_quantile(np.arange(9) / 10, 0.9) == 0.8


def test_strangers_are_covered_as_often_as_promised_whatever_the_model_believes() -> None:
    """Of a model that is far too sure: calibration alone would not cover."""
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.full(5, 0.5), 4000)
    labels = np.asarray([rng.choice(5, p=each) for each in truth])
    believed = truth**3 / (truth**3).sum(1, keepdims=True)
    scores = set_scores(believed)
    right = scores[np.arange(4000), labels]
    covered = []
    for start in range(0, 4000, 100):
        quantile = set_quantile(right[start : start + 50], 0.9)
        covered.append((right[start + 50 : start + 100] <= quantile).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert (right <= 0.9).mean() < 0.85, "the model is not sure enough to fool anybody"
