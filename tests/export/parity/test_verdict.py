"""The verdict: refused for harm, never for noise; and every refusal names limits that would let it pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from foveal_export.parity.budget import Budget, budget_of, tolerances
from foveal_export.parity.evidence import Evidences, judge
from foveal_export.parity.parity import Answers, SubsetParity, Truth, compare
from foveal_export.parity.refit import Refit, differing
from foveal_export.parity.verdict import failures, loosened
from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.bundle.manifest import Evidence, HeadEvidence, Precision
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.study.labels import ICDR, MISSING, REFERABLE_GRADE, SCHEMES, SDRG, softmax

N = 200
Logits = Any


def _truth(grades_N: Any, count: int = N) -> Truth:
    labels = {head: np.asarray(grades_N, np.int64) for head in SCHEMES}
    return Truth(labels=labels, patients=[f"p{i // 2}" for i in range(count)])


def _logits(grades_N: Any, *, sure: float = 4.0) -> Logits:
    """Logits that say each study's grade, more or less surely."""
    logits = np.zeros((len(grades_N), 5), np.float32)
    logits[np.arange(len(grades_N)), grades_N] = sure
    return logits


def _answers(icdr: Logits, sdrg: Logits | None = None) -> Answers:
    vector = np.random.default_rng(0).normal(size=(len(icdr), 16)).astype(np.float32)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    return Answers(vectors={VectorKind.JOINT: vector}, logits={ICDR: icdr, SDRG: icdr if sdrg is None else sdrg})


def _evidence(status: Evidence = Evidence.PROVEN) -> Evidences:
    return {"image": {head: HeadEvidence(status=status) for head in SCHEMES}}


def _missed(part: SubsetParity, status: Evidence = Evidence.PROVEN, **limits: float) -> list[str]:
    budget = dataclasses.replace(Budget(), **{"probability": 1.0, **limits})
    return [f.quantity for f in failures({"image": part}, budget, evidence=_evidence(status), dependence=0.0)]


GRADES = np.tile(np.arange(5), N // 5)


def test_grades_that_change_where_pytorch_was_sure_are_refused() -> None:
    before, after = _logits(GRADES), _logits(GRADES)
    after[:12] = _logits((GRADES[:12] + 1) % 5)
    found = compare(_answers(before), _answers(after), _truth(GRADES))
    assert found.heads["icdr"].counted == 12
    assert {"icdr_flips", "sdrg_flips"} <= set(_missed(found))


def test_near_ties_are_counted_apart_and_a_tenth_of_the_studies_is_excused() -> None:
    def tied(count: int) -> SubsetParity:
        before, after = _logits(GRADES), _logits(GRADES)
        for side, lead in ((before, 0.01), (after, -0.01)):
            side[:count] = 0.0
            side[:count, 0], side[:count, 1] = 3.0 + lead, 3.0  # non-referable either way
        return compare(_answers(before), _answers(after), _truth(GRADES))

    few, many = tied(20), tied(30)
    assert (few.heads["icdr"].flips, few.heads["icdr"].near_ties, few.heads["icdr"].counted) == (20, 20, 0)
    assert "icdr_flips" not in _missed(few, kappa_drop=2, calibration_rise=1)
    assert many.heads["icdr"].counted == 10
    assert "icdr_flips" in _missed(many, kappa_drop=2, calibration_rise=1)


@pytest.mark.parametrize("status", [Evidence.CHANCE, Evidence.UNVERIFIED])
def test_grades_that_are_not_told_from_chance_are_held_to_vectors_and_probabilities(status: Evidence) -> None:
    before = _logits(GRADES, sure=0.1)
    found = compare(_answers(before), _answers(before[::-1].copy()), _truth(GRADES))
    assert found.heads["icdr"].counted > 100
    assert _missed(found, status) == []
    assert _missed(found, status, probability=0.01) == ["probability of icdr", "probability of sdrg"]


def _at(threshold: float, temperature: float = 1.0) -> SubsetCalibration:
    points = (OperatingPoint(name="screening", threshold=threshold),)
    return SubsetCalibration(temperature={ICDR: temperature}, operating_points=points)


def test_referrals_are_judged_at_the_operating_point_that_is_served() -> None:
    logits = _logits(GRADES, sure=1.0)
    same = compare(_answers(logits), _answers(logits), _truth(GRADES), (_at(0.3), _at(0.3)))
    moved = compare(_answers(logits), _answers(logits), _truth(GRADES), (_at(0.3), _at(0.9)))
    assert _missed(same) == []
    assert same.referable is not None
    assert same.referable.threshold == 0.3
    # The studies of a referable grade are referred at any threshold; those between are not any more.
    assert "referable_flips" in _missed(moved)


def test_a_temperature_that_makes_grades_overconfident_is_a_rise_of_the_calibration_error() -> None:
    rng = np.random.default_rng(1)
    said = np.where(rng.random(N) < 0.6, GRADES, rng.integers(0, 5, N))
    logits = _logits(said, sure=1.6)
    found = compare(_answers(logits), _answers(logits), _truth(GRADES), (_at(0.5), _at(0.5, temperature=0.4)))
    assert "calibration_rise of icdr" in _missed(found, referable_shift=1)


def test_a_shift_of_all_probabilities_is_refused_where_no_grade_changes() -> None:
    before = _logits(GRADES, sure=2.0)
    after = before.copy()
    after[:, REFERABLE_GRADE:] += 0.2
    found = compare(_answers(before), _answers(after), _truth(GRADES))
    assert found.heads["icdr"].flips == 0
    assert "referable_shift" in _missed(found)


@pytest.mark.parametrize(
    ("cosine", "others", "missed"),
    [(0.82, 0.96, []), (0.79, 0.96, ["outlier's cosine of joint"]), (0.94, 0.94, ["min_cosine of joint"])],
)
def test_one_vector_may_lie_four_times_as_far_off_as_all_others(cosine: float, others: float, missed: list[str]) -> None:
    unit = np.eye(60, dtype=np.float32)

    def turned(cosines_N: Any) -> Answers:
        vectors = unit * cosines_N[:, None] + np.roll(unit, 1, axis=1) * np.sqrt(1 - cosines_N**2)[:, None]
        return Answers(vectors={VectorKind.JOINT: vectors.astype(np.float32)}, logits={})

    cosines = np.full(60, others)
    cosines[:1] = cosine
    cosines[1:2] = cosine if cosine == others else others
    truth = Truth(labels={}, patients=[str(i) for i in range(60)])
    found = compare(turned(np.ones(60)), turned(cosines), truth)
    assert _missed(found, neighbour_overlap=0.0) == missed


def test_one_lost_study_of_many_is_no_loss_that_resampling_confirms() -> None:
    before, after = _logits(GRADES), _logits(GRADES)
    after[4] = _logits(np.asarray([0]))[0]
    found = compare(_answers(before), _answers(after), _truth(GRADES))
    assert found.heads["icdr"].kappa is not None
    assert found.heads["icdr"].kappa.loss > 0
    assert _missed(found, kappa_drop=0.0, sensitivity_drop=0.0, calibration_rise=0.0) == []


@pytest.mark.parametrize(
    ("studies", "skill", "status"),
    [(80, 3.0, Evidence.PROVEN), (80, 0.0, Evidence.CHANCE), (48, 3.0, Evidence.UNVERIFIED)],
)
def test_evidence_needs_fifty_studies_and_a_lower_bound_above_chance(studies: int, skill: float, status: Evidence) -> None:
    truth = np.tile(np.asarray([0, 3]), studies // 2)
    logits = np.zeros((studies, 5), np.float32)
    logits[:, 3] = skill * (truth == 3) + np.random.default_rng(0).normal(0, 0.1, studies)
    logits[:, 0] = 0.5 * skill
    found = judge(truth, logits, [str(i) for i in range(studies)])
    assert found.status is status
    assert found.studies == studies


def test_evidence_needs_twenty_of_each_side() -> None:
    truth = np.asarray([3] * 19 + [0] * 60 + [MISSING] * 9)
    found = judge(truth, _logits(np.where(truth == MISSING, 0, truth)), [str(i) for i in range(len(truth))])
    assert (found.status, found.studies, found.positives) == (Evidence.UNVERIFIED, 79, 19)


@pytest.mark.parametrize("seed", range(20))
def test_the_limits_that_a_refusal_names_let_it_pass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = _answers(_logits(GRADES, sure=rng.uniform(0.2, 3)))
    noisy = {head: (x + rng.normal(0, rng.uniform(0.01, 2), x.shape)).astype(np.float32) for head, x in before.logits.items()}
    vector = before.vectors[VectorKind.JOINT] + rng.normal(0, 0.2, (N, 16)).astype(np.float32)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    found = {"image": compare(before, Answers(vectors={VectorKind.JOINT: vector}, logits=noisy), _truth(GRADES))}
    missed = failures(found, Budget(), evidence=_evidence(), dependence=2e-3)
    assert missed
    wider = dataclasses.replace(Budget(), **loosened(missed))
    assert failures(found, wider, evidence=_evidence(), dependence=2e-3) == []


@pytest.mark.parametrize(
    ("moved", "push", "missed"),
    [
        (6, 1.0, []),  # of 600 one in a hundred may move four times as far
        (7, 1.0, ["probability of icdr", "probability of sdrg"]),
        (6, 12.0, ["outlier's probability of icdr", "outlier's probability of sdrg"]),
    ],
)
def test_one_probability_in_a_hundred_may_change_four_times_as_much(moved: int, push: float, missed: list[str]) -> None:
    grades = np.full(600, 2)
    before = _logits(grades, sure=2.0)
    after = before.copy()
    after[:moved, 0] += push
    after[:moved, 4] -= push
    found = compare(_answers(before), _answers(after), _truth(grades, 600))
    assert [name for name in _missed(found, probability=0.1) if "probability" in name] == missed


def test_a_threshold_that_changes_no_decision_is_no_harm_and_one_that_changes_many_is() -> None:
    score_N = np.concatenate([np.linspace(0, 0.4, 50), np.linspace(0.6, 1, 50)])
    again = Refit(calibration={"image": _at(0.45)}, scores={"image": score_N})
    assert differing({"image": _at(0.55)}, again, 0.01) == []
    assert differing({"image": _at(0.9)}, again, 0.01) == [("image", "threshold of screening", 0.9, 0.45)]
    assert differing({}, again, 0.01), "a bundle that carries none differs"
    unseen = Refit(calibration={"image": _at(0.45, temperature=1.2)})
    assert [what for _, what, _, _ in differing({"image": _at(0.45)}, unseen, 0.01)] == ["temperature of icdr"]


def test_no_limit_lets_nan_pass() -> None:
    logits = _logits(GRADES)
    broken = np.full_like(logits, np.nan)
    found = compare(_answers(logits), _answers(broken), _truth(GRADES))
    missed = failures({"image": found}, Budget(), evidence=_evidence(), dependence=0.0)
    assert any(f.quantity == "probability of icdr" for f in missed)
    assert loosened(missed) == {}


def test_budget_survives_the_manifest() -> None:
    budget = Budget(tie_margin=0.05, sdrg_flips=0.3, probability=0.2, kappa_drop=0.1, calibration_rise=0.07, max_abs=0.4)
    assert budget_of(tolerances(budget, Precision.INT8)) == budget


def test_probabilities_are_those_behind_each_sides_temperature() -> None:
    logits = _logits(GRADES, sure=2.0)
    found = compare(_answers(logits), _answers(logits), _truth(GRADES), (_at(0.5, 1.0), _at(0.5, 2.0)))
    expected = np.abs(softmax(logits) - softmax(logits, 2.0)).max()
    assert found.heads["icdr"].max_abs_probability == pytest.approx(expected)
    assert found.heads["sdrg"].max_abs_probability == 0.0
