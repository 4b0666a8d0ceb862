"""What a site's labelled studies change of a bundle's calibration, by logits whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import open_engine, write_bundle

from foveal_runtime.engine.adapt import LEAST, Adaptation, Asked, adapt, perfect_error, sureness_error
from foveal_runtime.engine.engine import Engine
from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import ICDR, referral_score, softmax

SHIFT = np.asarray([2.0, 0.5, 0.0, -1.0, -1.5])
"""Of the site: more healthy eyes than training had."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return open_engine(write_bundle(tmp_path_factory.mktemp("adapt") / "b"))


def site(count: int, seed: int = 0) -> Asked:
    """Logits three times too sure, of a site whose prior is shifted."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((count, 5))
    labels = [int(rng.choice(5, p=p)) for p in softmax(logits + SHIFT)]
    return Asked(logits={ICDR: list(3 * logits)}, labels={ICDR: labels}, patients=[f"p{i}" for i in range(count)])


def adapted(engine: Engine, asked: Asked) -> Adaptation:
    return adapt(engine, {"image": asked})


def test_a_site_gets_its_own_prior_and_temperature_and_is_calibrated_on_strangers(engine: Engine) -> None:
    found = adapted(engine, site(400))
    calibration, strangers = found.calibration["image"], site(4000, seed=1)
    assert calibration.temperature[ICDR] == pytest.approx(3.0, rel=0.25)
    np.testing.assert_allclose(np.asarray(calibration.bias[ICDR]) / 3, SHIFT - SHIFT.mean(), atol=0.6)
    probabilities = calibration.probabilities(ICDR, np.asarray(strangers.logits[ICDR]))
    truth = np.asarray(strangers.labels[ICDR])
    assert sureness_error(probabilities, truth) < perfect_error(probabilities) + 0.04
    before = engine.manifest.calibration["image"].probabilities(ICDR, np.asarray(strangers.logits[ICDR]))
    assert sureness_error(before, truth) > 0.2
    assert found.calibration.keys() == {"image"}, "others stay as they are"


def test_figures_are_of_studies_that_no_fit_saw(engine: Engine) -> None:
    """Labels that have nothing to do with the logits: a fit on the very studies would look better than chance."""
    asked = site(120)
    asked.labels[ICDR] = [int(grade) for grade in np.random.default_rng(5).integers(0, 5, 120)]
    figures = adapted(engine, asked).figures["image"]["after"]
    assert abs(figures["kappa"]) < 0.2
    assert figures["negative_log_likelihood"] > np.log(5) - 0.05


def test_one_patient_s_studies_are_never_on_both_sides(engine: Engine) -> None:
    asked = site(100)
    asked.patients = [f"p{i // 20}" for i in range(100)]
    assert adapted(engine, asked).figures["image"]["patients"] == 5


def test_without_referable_patients_enough_the_bundle_s_points_refer_all_that_they_did(engine: Engine) -> None:
    asked = site(60)
    asked.labels[ICDR] = [min(grade, 1) if i >= 20 else grade for i, grade in enumerate(asked.labels[ICDR])]
    found = adapted(engine, asked)
    assert not found.figures["image"]["fitted_points"]
    (old,), (new,) = engine.manifest.calibration["image"].operating_points, found.calibration["image"].operating_points
    assert (new.name, new.studies) == (old.name, 0)
    logits = np.asarray(asked.logits[ICDR])
    was = referral_score(engine.manifest.calibration["image"].probabilities(ICDR, logits)) >= old.threshold
    # Thresholds are of cross-fitted scores, which lie a little beside those of the fit on all.
    now = referral_score(found.calibration["image"].probabilities(ICDR, logits)) >= new.threshold
    assert (was & ~now).sum() <= 1


def test_too_few_labels_are_refused_and_counted(engine: Engine) -> None:
    with pytest.raises(DataError, match=rf"49 of image, and {LEAST} gradable ones"):
        adapted(engine, site(LEAST - 1))


def test_the_calibration_error_is_that_of_its_definition() -> None:
    probabilities = np.asarray([[0.95, 0.05, 0, 0, 0], [0.93, 0.07, 0, 0, 0], [0.6, 0.4, 0, 0, 0], [0.1, 0.35, 0.25, 0.2, 0.1]])
    # Bins (0.9, 1]: 1.88 expected, one right; (0.5, 0.6]: 0.6, right; (0.3, 0.4]: 0.35, wrong.
    assert sureness_error(probabilities, np.asarray([0, 1, 0, 4])) == pytest.approx((0.88 + 0.4 + 0.35) / 4)
