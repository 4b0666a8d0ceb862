"""When `make bench-check` says that something was lost."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def check() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("bench_check", BENCHMARKS / "bench_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCHMARKS))


def rates(check: Any, speed: float, noise: float, seed: int) -> dict[str, list[dict[str, float]]]:
    rng = np.random.default_rng(seed)

    def turns(mean: float) -> list[dict[str, float]]:
        return [{"per_s": value, "per_cpu_s": value / 2} for value in mean * (1 + noise * rng.standard_normal(7))]

    return {check.NOW: turns(100 * speed), check.AGAIN: turns(100 * speed), check.BEFORE: turns(100)}


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_tenth_less_is_a_loss_on_a_quiet_machine_and_nothing_is_lost_by_noise(check: Any, noise: float) -> None:
    same = [bool(check.judged(rates(check, 1.0, noise, seed))["lost"]) for seed in range(100)]
    assert sum(same) <= 12
    slower = [bool(check.judged(rates(check, 0.9 - noise, noise, seed))["lost"]) for seed in range(100)]
    assert sum(slower) >= 85
