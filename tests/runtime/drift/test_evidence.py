"""Places among earlier photographs are uniform, bets on them are fair, and chance alone raises no alarm."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_runtime.drift import evidence
from foveal_runtime.drift.evidence import Evidence, bets, places
from foveal_runtime.drift.signals import BINS, NAMES
from foveal_runtime.drift.watch import Watch


def test_every_bet_is_fair() -> None:
    middles = (np.arange(200_000) + 0.5) / 200_000
    np.testing.assert_allclose(np.exp(bets(middles)).mean(axis=1), 1.0, rtol=1e-4)
    assert len(bets(middles)) == evidence.BETS


@pytest.mark.parametrize("bins", [2, 40])
def test_places_of_what_does_not_change_are_uniform_whatever_the_ties(bins: int) -> None:
    rng = np.random.default_rng(bins)
    counts = np.zeros((1, BINS), np.int64)
    found = []
    for _ in range(4000):
        step = np.array([int(bins * rng.beta(1, 5))])
        found.append(float(places(counts, step, rng.random(1))[0]))
        counts[0, step] += 1
    shares = np.histogram(found, bins=10, range=(0, 1))[0] / len(found)
    np.testing.assert_allclose(shares, 0.1, atol=0.02)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 0.05


def test_a_photograph_without_a_number_leaves_its_evidence_as_it_is() -> None:
    running = Evidence(2)
    running.add(np.array([0.99, 0.99]), np.array([True, True]))
    before = running.levels.copy()
    running.add(np.array([0.5, 0.5]), np.array([True, False]))
    assert running.levels[1] == before[1]
    assert running.levels[0] != before[0]


def _alarms(watch: Watch, rng: np.random.Generator, photographs: int, alike: int = 1) -> int:
    started = 0
    for number in range(photographs):
        if number % alike == 0:
            steps_S = rng.normal(250, 12, len(NAMES)).astype(np.int64)
        change = watch.add(steps_S, rng.random(len(NAMES)), now="", photographs=number)
        started += change is not None and change.started
    return started


@pytest.mark.parametrize("alike", [1, evidence.ALIKE])
def test_chance_raises_no_alarm_even_when_photographs_come_in_runs_of_equal_ones(alike: int) -> None:
    assert _alarms(Watch(), np.random.default_rng(alike), 6000, alike) == 0


def test_bets_that_took_each_photograph_for_a_patient_would_raise_false_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "ALIKE", 1)
    assert _alarms(Watch(), np.random.default_rng(4), 6000, alike=4) > 0
