"""Temperatures and operating points against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_runtime.study.labels import softmax
from foveal_train.runs.calibration import (
    DEFAULT_POINT,
    MIN_EACH,
    MIN_LABELLED,
    TEMPERATURE_BOUNDS,
    fit_operating_points,
    fit_temperature,
    negative_log_likelihood,
    rates,
)
from foveal_train.training.losses import MISSING


def sampled(n: int, sharpen: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn at temperature 1, then multiplied: the right temperature is the factor."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.standard_normal((n, 5))
    labels = np.asarray([rng.choice(5, p=p) for p in softmax(logits)], np.int64)
    return logits * sharpen, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_recovers_the_factor_by_which_logits_were_sharpened(factor: float) -> None:
    logits, labels = sampled(6000, factor)
    assert fit_temperature(logits, labels) == pytest.approx(factor, rel=0.08)


def test_temperature_lowers_the_likelihood_loss_and_skips_unlabelled_studies() -> None:
    logits, labels = sampled(500, 3.0)
    temperature = fit_temperature(logits, labels)
    assert negative_log_likelihood(logits, labels, temperature) < negative_log_likelihood(logits, labels)
    padded = np.vstack([logits, np.full((50, 5), 40.0)])
    assert fit_temperature(padded, np.append(labels, np.full(50, MISSING))) == pytest.approx(temperature)


def test_negative_log_likelihood_is_the_mean_log_probability_of_the_label() -> None:
    logits = np.log([[0.7, 0.1, 0.1, 0.05, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]])
    assert negative_log_likelihood(logits, np.asarray([0, 3])) == pytest.approx(-(np.log(0.7) + np.log(0.2)) / 2)


def test_temperature_stays_one_without_enough_labels_or_with_one_grade_alone() -> None:
    logits, labels = sampled(MIN_LABELLED - 1, 3.0)
    assert fit_temperature(logits, labels) == 1.0
    logits, _ = sampled(200, 3.0)
    assert fit_temperature(logits, np.zeros(200, np.int64)) == 1.0


def test_temperature_stays_in_bounds_when_every_study_is_right() -> None:
    labels = np.arange(50) % 5
    assert fit_temperature(8.0 * np.eye(5)[labels], labels) == pytest.approx(TEMPERATURE_BOUNDS[0], rel=1e-2)


def test_operating_points_are_the_extreme_thresholds_that_keep_their_promise() -> None:
    # Twenty referable studies at 0.405, 0.435 ... and twenty others at 0.02, 0.05 ...: overlapping, no ties.
    positives, negatives = 0.405 + 0.03 * np.arange(20), 0.02 + 0.03 * np.arange(20)
    scores, positive = np.concatenate([positives, negatives]), np.arange(40) < 20
    sensitive, specific = fit_operating_points(scores, positive)
    # 18 of 20 positives must be at or above: between the second and the third of them, next to the negative at 0.47 - 0.03.
    assert sensitive.name == "sensitivity>=0.90"
    assert sensitive.sensitivity == pytest.approx(0.9)
    assert positives[1] < sensitive.threshold < positives[2]
    assert specific.name == "specificity>=0.90"
    assert specific.specificity == pytest.approx(0.9)
    assert negatives[17] < specific.threshold < negatives[18]
    assert sensitive.studies == specific.studies == 40
    for point in (sensitive, specific):
        called = scores >= point.threshold
        assert called[positive].mean() == pytest.approx(point.sensitivity)
        assert (~called[~positive]).mean() == pytest.approx(point.specificity)
        assert np.abs(scores - point.threshold).min() > 1e-3


def test_too_few_of_either_class_leave_the_default_threshold_marked_as_not_fitted() -> None:
    scores = np.linspace(0, 1, 100)
    for positives in (MIN_EACH - 1, 100 - MIN_EACH + 1):
        assert fit_operating_points(scores, np.arange(100) < positives) == (DEFAULT_POINT,)
    assert DEFAULT_POINT.threshold == 0.5
    assert DEFAULT_POINT.studies == 0


def test_scores_that_are_all_one_value_still_find_nine_in_ten() -> None:
    sensitive = fit_operating_points(np.full(40, 0.3), np.arange(40) < 20)[0]
    assert sensitive.sensitivity == 1.0
    assert sensitive.specificity == 0.0
    assert sensitive.threshold <= 0.3


def test_rates_count_a_score_equal_to_the_threshold_as_referred() -> None:
    sensitivity, specificity = rates(
        np.asarray([0.2, 0.5, 0.5, 0.9]), np.asarray([False, False, True, True]), np.asarray([0.5])
    )
    assert sensitivity[0] == 1.0
    assert specificity[0] == 0.5
