"""The measure of memory finds a leak of a kilobyte a request, and calls noise flat."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from runtime_load import growth_kb


def samples(leak_kb: float) -> tuple[list[int], list[float]]:
    rng = random.Random(1)
    at = list(range(0, 20_000, 200))
    return at, [300 + leak_kb * n / 1024 + rng.gauss(0, 4) + (25 if n == 9_000 else 0) for n in at]


def test_a_kilobyte_a_request_is_found_in_the_noise_of_a_server() -> None:
    assert growth_kb(*samples(1.0)) > 0.5


def test_noise_and_one_spike_are_flat() -> None:
    assert abs(growth_kb(*samples(0.0))) < 0.25
