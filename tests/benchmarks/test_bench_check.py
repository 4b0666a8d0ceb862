"""When `make bench-check` says that something was lost."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def check(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("bench_check")


def rates(check: ModuleType, speed: float, noise: float, seed: int) -> dict[str, list[dict[str, float]]]:
    rng = np.random.default_rng(seed)

    def turns(mean: float) -> list[dict[str, float]]:
        return [{"per_s": value, "per_cpu_s": value / 2} for value in mean * (1 + noise * rng.standard_normal(7))]

    return {check.NOW: turns(100 * speed), check.AGAIN: turns(100 * speed), check.BEFORE: turns(100)}


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_tenth_less_is_a_loss_on_a_quiet_machine_and_nothing_is_lost_by_noise(check: ModuleType, noise: float) -> None:
    same = [bool(check.judged(rates(check, 1.0, noise, seed))["lost"]) for seed in range(100)]
    assert sum(same) <= 12
    slower = [bool(check.judged(rates(check, 0.9 - noise, noise, seed))["lost"]) for seed in range(100)]
    assert sum(slower) >= 85
