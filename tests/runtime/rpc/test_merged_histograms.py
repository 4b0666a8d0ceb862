"""Counts of several servers added up, as Prometheus does: the quantiles of all their calls together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal_runtime.rpc.metrics import Metrics


def buckets(metrics: Metrics) -> dict[float, float]:
    """Cumulated counts by upper end."""
    (family,) = [each for each in metrics.registry.collect() if each.name == "foveal_call_seconds"]
    rows = [sample for sample in family.samples if sample.name.endswith("_bucket")]
    return {float(sample.labels["le"]): sample.value for sample in rows}


def histogram_quantile(share: float, counts: dict[float, float]) -> float:
    """As Prometheus defines it."""
    ends = sorted(counts)
    rank = share * counts[math.inf]
    place = next(i for i, end in enumerate(ends) if counts[end] >= rank)
    low, below = (0.0, 0.0) if place == 0 else (ends[place - 1], counts[ends[place - 1]])
    return low + (ends[place] - low) * (rank - below) / (counts[ends[place]] - below)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_quantile_of_three_servers_is_that_of_all_their_calls(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # A quick one, one that is three times as slow, and a loaded one with a long tail.
    times = [rng.lognormal(math.log(middle), spread, 20_000) for middle, spread in ((0.02, 0.4), (0.06, 0.5), (0.05, 0.9))]
    servers = []
    for each in times:
        metrics = Metrics()
        for seconds in each:
            metrics.call_ended("Grade", "OK", seconds)
        servers.append(buckets(metrics))
    merged = {end: sum(counts[end] for counts in servers) for end in servers[0]}
    assert histogram_quantile(share, merged) == pytest.approx(np.quantile(np.concatenate(times), share), rel=0.05)
