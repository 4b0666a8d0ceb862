"""The bootstrap: patients stay whole, intervals cover, and no interval claims certainty."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_train.evaluation.intervals import MIN_PATIENTS, divide, error_figure, figure, proportion, resample


def test_both_eyes_of_a_patient_are_drawn_together() -> None:
    drawn = resample([f"patient {i // 2}" for i in range(40)], count=50, seed=0)
    np.testing.assert_array_equal(drawn.weights_RN[:, ::2], drawn.weights_RN[:, 1::2])
    assert (drawn.weights_RN.sum(1) == 40).all()
    assert drawn.patients == 20


def test_the_same_seed_draws_the_same_patients_and_another_seed_others() -> None:
    names = [str(i) for i in range(30)]
    one, same, other = (resample(names, count=20, seed=seed).weights_RN for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_resampling_patients_gives_a_wider_interval_than_resampling_their_images() -> None:
    rng = np.random.default_rng(0)
    hit = np.repeat(rng.random(100) < 0.7, 4).astype(float)  # four photographs of one patient share their fate
    widths = []
    for names in ([str(i // 4) for i in range(400)], [str(i) for i in range(400)]):
        drawn = resample(names, count=800, seed=0)
        low, high = figure(hit.mean(), drawn.sums(hit[:, None])[:, 0] / 400, n=400, patients=drawn.patients)["interval"]
        widths.append(high - low)
    assert widths[0] > 1.6 * widths[1]  # two, but for the noise of 800 replicates


def test_interval_of_a_proportion_is_that_of_the_normal_approximation_where_it_holds() -> None:
    hit = (np.arange(400) < 240).astype(float)
    drawn = resample([str(i) for i in range(400)], count=4000, seed=0)
    found = proportion(0.6, drawn.sums(hit[:, None])[:, 0] / 400, n=400, patients=400, undefined="")
    half = 1.96 * np.sqrt(0.6 * 0.4 / 400)
    assert found["interval"] == pytest.approx([0.6 - half, 0.6 + half], abs=0.006)


def test_all_right_or_all_wrong_is_bounded_exactly_instead_of_claimed_certain() -> None:
    sure = np.ones(100)
    right = proportion(1.0, sure, n=40, patients=20, undefined="")
    wrong = proportion(0.0, 0 * sure, n=40, patients=20, undefined="")
    assert right["interval"] == pytest.approx([0.025 ** (1 / 20), 1])
    assert wrong["interval"] == pytest.approx([0, 1 - 0.025 ** (1 / 20)])
    assert "Clopper" in right["method"]


def test_too_few_patients_have_no_interval_and_undefined_figures_no_value() -> None:
    few = figure(0.5, np.full(100, 0.5), n=30, patients=MIN_PATIENTS - 1)
    assert few["interval"] is None
    assert "too few" in few["reason"]
    nothing = figure(float("nan"), np.full(100, 0.5), n=0, patients=50, undefined="no study")
    assert nothing == {"value": None, "interval": None, "n": 0, "reason": "no study"}


def test_replicates_without_a_class_are_left_out() -> None:
    replicates = np.asarray([np.nan] * 50 + [0.4, 0.6] * 50)
    assert figure(0.5, replicates, n=50, patients=50)["interval"] == pytest.approx([0.4, 0.6])


def test_calibration_error_interval_is_reversed_so_that_it_holds_its_value() -> None:
    # Replicates of a sum of absolute gaps lie above the value: 0.03 with replicates at 0.04 to 0.06.
    found = error_figure(0.03, np.linspace(0.04, 0.06, 101), n=100, patients=100, undefined="")
    low, high = found["interval"]
    assert (low, high) == (pytest.approx(0.0005), pytest.approx(0.03))
    centred = error_figure(0.2, np.linspace(0.15, 0.27, 1001), n=100, patients=100, undefined="")
    assert centred["interval"] == pytest.approx([0.133, 0.247], abs=1e-3)


def test_division_by_nothing_is_not_a_number() -> None:
    assert np.isnan(divide(1, 0))
    np.testing.assert_array_equal(np.isnan(divide([1, 2], [0, 4])), [True, False])
