"""Temperatures and operating points against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foveal_runtime.engine.fits import (
    DEFAULT_POINT,
    MIN_LABELLED,
    MIN_OTHERS,
    MIN_PATIENTS,
    TEMPERATURE_BOUNDS,
    cross_fitted,
    fit_grade_set,
    fit_operating_points,
    fit_scaling,
    fit_subset,
    fit_temperature,
    negative_log_likelihood,
    rates,
)
from foveal_runtime.study.gradeset import set_scores
from foveal_runtime.study.labels import ICDR, MISSING, REFERABLE_GRADE, SDRG, referral_score, softmax


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


def scores_of_patients(patients: int, others: int = 40) -> tuple[Any, Any, Any]:
    """A referable study each of some patients, and studies of others below and among them; no ties."""
    positives, negatives = 0.41 + 0.5 * np.arange(patients) / patients, 0.02 + 0.5 * np.arange(others) / others
    scores = np.concatenate([positives, negatives])
    return scores, np.arange(len(scores)) < patients, np.arange(len(scores))


def test_the_default_point_is_the_highest_threshold_whose_bound_over_patients_holds() -> None:
    scores, positive, patient = scores_of_patients(46)
    sensitive, specific = fit_operating_points(scores, positive, patient)
    # One of 46 may be missed: 45 of 46 have a lower bound of 0.9010, 44 of 46 one of 0.8989.
    assert sensitive.name == "sensitivity>=0.90"
    assert sensitive.sensitivity == pytest.approx(45 / 46)
    assert sensitive.sensitivity_low == pytest.approx(0.90098, abs=1e-5)
    assert scores[0] < sensitive.threshold < scores[1]
    assert (sensitive.patients, sensitive.studies) == (46, 86)
    assert specific.name == "specificity>=0.90"
    assert specific.specificity == pytest.approx(0.9)
    for point in (sensitive, specific):
        called = scores >= point.threshold
        assert called[positive].mean() == pytest.approx(point.sensitivity)
        assert (~called[~positive]).mean() == pytest.approx(point.specificity)
        assert np.abs(scores - point.threshold).min() > 1e-4


def test_a_patient_is_found_by_either_eye_and_two_eyes_are_one_patient() -> None:
    scores, positive, patient = scores_of_patients(40)
    second_eyes = np.full(40, 0.05)  # the other eye of each patient, hardly seen
    both = np.concatenate([scores, second_eyes])
    found = fit_operating_points(both, np.append(positive, np.ones(40, bool)), np.append(patient, np.arange(40)))[0]
    alone = fit_operating_points(scores, positive, patient)[0]
    assert found.patients == alone.patients == 40
    assert found.sensitivity_low == alone.sensitivity_low
    assert found.sensitivity < 0.6, "over studies it is what it is"


def test_too_few_of_either_leave_the_default_threshold_marked_as_not_fitted() -> None:
    assert fit_operating_points(*scores_of_patients(MIN_PATIENTS - 1)) == (DEFAULT_POINT,)
    assert fit_operating_points(*scores_of_patients(60, others=MIN_OTHERS - 1)) == (DEFAULT_POINT,)
    assert fit_operating_points(*scores_of_patients(MIN_PATIENTS))[0].sensitivity == 1.0
    assert DEFAULT_POINT.threshold == 0.5
    assert DEFAULT_POINT.studies == 0


def test_scores_that_are_all_one_value_still_find_everyone() -> None:
    sensitive = fit_operating_points(np.full(80, 0.3), np.arange(80) < 40, np.arange(80))[0]
    assert sensitive.sensitivity == 1.0
    assert sensitive.specificity == 0.0
    assert sensitive.threshold <= 0.3


def test_points_are_fitted_on_scores_that_do_not_know_their_patient() -> None:
    logits, labels = sampled(400, 3.0)
    patients = [f"p{i // 2}" for i in range(400)]
    (point, *_) = fit_subset({ICDR: logits}, {ICDR: labels}, patients).operating_points
    assert point.studies == 400
    assert point.sensitivity_low >= 0.9
    unknown = np.where(np.arange(400) % 2, MISSING, labels)
    assert fit_subset({ICDR: logits}, {ICDR: unknown}, patients).operating_points[0].studies == 200


def test_rates_count_a_score_equal_to_the_threshold_as_referred() -> None:
    sensitivity, specificity = rates(
        np.asarray([0.2, 0.5, 0.5, 0.9]), np.asarray([False, False, True, True]), np.asarray([0.5])
    )
    assert sensitivity[0] == 1.0
    assert specificity[0] == 0.5


def test_a_site_s_prior_is_found_and_its_probabilities_are_those_of_the_site() -> None:
    logits, labels = sampled(20000, 1.0, seed=3)
    rng = np.random.default_rng(4)
    kept = (
        rng.random(len(labels)) < np.asarray([1.0, 0.2, 0.5, 1.0, 0.1])[labels]
    )  # the site sees other grades than training did
    site, grades = logits[kept], labels[kept]
    temperature_alone, scaled = fit_scaling(site, grades), fit_scaling(site, grades, prior=True)
    wanted = np.log([1.0, 0.2, 0.5, 1.0, 0.1])
    np.testing.assert_allclose(scaled.bias_G, wanted - wanted.mean(), atol=0.15)
    assert sum(scaled.bias_G) == pytest.approx(0, abs=1e-9)
    shares = np.bincount(grades, minlength=5) / len(grades)
    np.testing.assert_allclose(scaled.probabilities(site).mean(0), shares, atol=0.01)
    assert np.abs(temperature_alone.probabilities(site).mean(0) - shares).max() > 0.05


def test_a_grade_that_a_small_site_has_not_seen_stays_possible() -> None:
    logits, labels = sampled(60, 1.0)
    labels[labels == 4] = 3
    scaled = fit_scaling(logits, labels, prior=True)
    assert -3 < scaled.bias_G[4] < 0


def test_a_subset_is_fitted_whole_and_few_studies_fit_nothing() -> None:
    logits, labels = sampled(300, 2.0)
    patients = [str(i) for i in range(300)]
    found = fit_subset({ICDR: logits, SDRG: logits}, {ICDR: labels, SDRG: labels}, patients)
    assert found.temperature[ICDR] == pytest.approx(2.0, rel=0.3)
    assert found.bias == {}
    probabilities, numbers = cross_fitted(logits, labels, patients)
    assert found.operating_points == fit_operating_points(referral_score(probabilities), labels >= REFERABLE_GRADE, numbers)
    assert found.grade_set is not None
    assert (found.grade_set.coverage, found.grade_set.studies) == (0.9, 300)
    few = fit_subset({ICDR: logits[:10]}, {ICDR: labels[:10]}, patients[:10], prior=True)
    assert (few.temperature, few.bias, few.grade_set) == ({ICDR: 1.0}, {}, None)
    assert few.operating_points == (DEFAULT_POINT,)


def test_grade_sets_cover_studies_that_no_fit_saw() -> None:
    logits, labels = sampled(4000, 3.0, seed=5)
    fitted = fit_subset({ICDR: logits[:200]}, {ICDR: labels[:200]}, [str(i) for i in range(200)])
    assert fitted.grade_set is not None
    scores = set_scores(fitted.probabilities(ICDR, logits[200:]))[np.arange(3800), labels[200:]]
    assert (scores <= fitted.grade_set.quantile).mean() == pytest.approx(0.9, abs=0.05)
    assert fit_grade_set(softmax(logits[: MIN_LABELLED - 1]), labels[: MIN_LABELLED - 1]) is None
