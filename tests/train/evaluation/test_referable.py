"""AUROC, operating points and reliability against scikit-learn and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from foveal_runtime.bundle.calibration import OperatingPoint
from foveal_runtime.engine.reliability import bin_of
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.referable import auroc, decision_figures, macro_auroc, referable_figures, roc_curve
from foveal_train.evaluation.reliability import calibration_error, reliability


def scored(n: int = 200, *, decimals: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positive = rng.random(n) < 0.3
    return np.round(rng.random(n) * 0.7 + 0.3 * positive, decimals), positive


@pytest.mark.parametrize("decimals", [8, 1])
def test_auroc_equals_that_of_scikit_learn_with_and_without_ties_and_weights(decimals: int) -> None:
    scores, positive = scored(decimals=decimals)
    assert auroc(scores, positive)[0] == pytest.approx(roc_auc_score(positive, scores))
    drawn = resample([str(i // 2) for i in range(200)], count=30, seed=0)
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in drawn.weights_RN]
    np.testing.assert_allclose(auroc(scores, positive, drawn.weights_RN), expected)


def test_auroc_without_one_of_the_classes_is_undefined_and_says_why() -> None:
    drawn = resample([str(i) for i in range(20)], count=10, seed=0)
    points = [(OperatingPoint(name="default 0.5", threshold=0.5),)] * 20
    scores = np.linspace(0, 1, 20)
    found = referable_figures(scores, np.zeros(20, bool), points, drawn, decided_by_N=scores)
    assert found["auroc"]["value"] is None
    assert found["roc"] is None
    sensitivity = found["operating_points"][0]["sensitivity"]
    assert sensitivity["value"] is None
    assert "no referable" in sensitivity["reason"]


def test_area_under_the_stored_curve_is_the_auroc() -> None:
    scores, positive = scored(1500, decimals=2)
    curve = roc_curve(scores, positive)
    area = np.trapezoid(curve["true_positive_rate"], curve["false_positive_rate"])
    assert area == pytest.approx(auroc(scores, positive)[0], abs=1e-3)
    assert curve["true_positive_rate"][0] == 0
    assert curve["true_positive_rate"][-1] == curve["false_positive_rate"][-1] == 1


def test_sensitivity_and_specificity_of_a_worked_example() -> None:
    positive = np.asarray([True] * 10 + [False] * 30)
    called = np.asarray([True] * 8 + [False] * 2 + [True] * 3 + [False] * 27)
    found = decision_figures(called, positive, resample([str(i) for i in range(40)], count=500, seed=0))
    assert found["sensitivity"]["value"] == pytest.approx(0.8)
    assert found["sensitivity"]["n"] == 10
    assert found["specificity"]["value"] == pytest.approx(0.9)
    low, high = found["sensitivity"]["interval"]
    assert low < 0.8 < high


def test_each_study_is_decided_by_the_threshold_of_what_it_showed() -> None:
    scores, positive = np.asarray([0.3, 0.3, 0.6, 0.6]), np.asarray([True, False, True, False])
    low = (OperatingPoint(name="sensitivity>=0.90", threshold=0.2, studies=50),)
    high = (OperatingPoint(name="sensitivity>=0.90", threshold=0.5, studies=50),)
    drawn = resample(list("abcd"), count=0, seed=0)
    figures = referable_figures(scores, positive, [low, high, low, high], drawn, decided_by_N=scores)
    found = figures["operating_points"][0]
    assert found["flagged"] == 3
    assert found["threshold"] is None
    assert found["thresholds"] == [0.2, 0.5]
    assert found["fitted"]
    assert found["sensitivity"]["value"] == 1
    assert found["specificity"]["value"] == 0.5


def test_calibration_error_of_a_worked_example() -> None:
    # Ten studies at 0.85 of which 6 are true, ten at 0.25 of which 3 are: gaps 0.25 and 0.05, each half of the studies.
    probability = np.repeat([0.85, 0.25], 10)
    true = np.asarray([True] * 6 + [False] * 4 + [True] * 3 + [False] * 7)
    drawn = resample([str(i) for i in range(20)], count=100, seed=0)
    assert calibration_error(probability, true, drawn)["value"] == pytest.approx(0.15)
    bins = reliability(probability, true)
    assert [(b["n"], round(b["predicted"], 6), round(b["observed"], 6)) for b in bins] == [(10, 0.25, 0.3), (10, 0.85, 0.6)]


def test_bins_hold_both_ends_of_the_scale() -> None:
    np.testing.assert_array_equal(bin_of(np.asarray([0.0, 0.05, 0.1, 0.1001, 0.95, 1.0])), [0, 0, 0, 1, 9, 9])


def test_macro_auroc_is_the_mean_over_the_grades_that_occur() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(5, 200, p=[0.5, 0.2, 0.2, 0.1, 0.0])
    probabilities = rng.dirichlet(np.ones(5), 200)
    probabilities[np.arange(200), labels] += 0.4
    expected = np.mean([roc_auc_score(labels == grade, probabilities[:, grade]) for grade in range(4)])
    assert macro_auroc(probabilities, labels)[0] == pytest.approx(expected)
    drawn = np.bincount(rng.integers(0, 200, 200), minlength=200)
    rows = np.repeat(np.arange(200), drawn)
    again = np.mean([roc_auc_score(labels[rows] == grade, probabilities[rows, grade]) for grade in range(4)])
    assert macro_auroc(probabilities, labels, drawn[None].astype(np.float32))[0] == pytest.approx(again, abs=1e-6)
    assert np.isnan(macro_auroc(probabilities, np.zeros(200, np.int64))[0])
