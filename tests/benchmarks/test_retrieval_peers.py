"""Recall, the count after kill -9, and the verdict of the retrieval benchmark."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

KEEPS = """
import numpy as np
class Peer:
    version, settings, efforts, durable = "0", "", (0,), ""
    def __init__(self, variant): self.lazy = variant == "lazy"
    def open(self, folder, dim):
        self.file = folder / "ids"
        self.kept = self.file.read_text().split() if self.file.exists() else []
    def add(self, first, vectors_ND, facts_N2):
        new = [str(i) for i in range(first, first + len(vectors_ND))]
        self.kept += new
        if not self.lazy:
            with self.file.open("a") as file:
                file.write(" ".join(new) + " ")
    def save(self): pass
    def build(self):
        self.file.write_text(" ".join(self.kept) + " ")
    def search(self, query_D, k, effort, where): return [int(i) for i in self.kept[:k]]
    def ids(self): return np.array(self.kept, np.int64)
    def close(self): pass
"""
"""A peer of two kinds: one writes before it acknowledges, the lazy one does not."""


@pytest.fixture
def peers(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("retrieval_peers")


@pytest.fixture
def fake(peers: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """A contender whose code is given."""

    def make(code: str = KEEPS, variant: str = "") -> Any:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "peer.py").write_text(code)
        return inner("process").Contender(name="fake", folder=str(tmp_path / "fake"), variant=variant)

    return make


def rows_of(folder: Path, count: int) -> dict[str, str]:
    """Vectors and facts in files, by the names that a load knows them by."""
    files = {"vectors": np.zeros((count, 4), np.float32), "facts": np.zeros((count, 2), np.int16)}
    for name, values in files.items():
        np.save(folder / f"{name}.npy", values)
    return {name: str(folder / f"{name}.npy") for name in files}


def inner(name: str) -> Any:
    return importlib.import_module(f"peers_retrieval.{name}")


def test_exact_neighbours_are_those_of_one_large_product_however_rows_are_cut(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours = inner("neighbours")
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    rng = np.random.default_rng(0)
    vectors_ND, queries_QD = (rng.normal(size=(count, 8)).astype(np.float32) for count in (50, 5))
    facts_N2 = np.stack([np.arange(50) % 3, np.arange(50) % 20], axis=1).astype(np.int16)
    kept_N = neighbours.passing(facts_N2, {"grade": 1, "site": 4})
    assert kept_N.nonzero()[0].tolist() == [4]
    ids_QK, _ = neighbours.nearest(queries_QD, vectors_ND, np.ones(50, bool), 10)
    assert (ids_QK == np.argsort(-(queries_QD @ vectors_ND.T), axis=1)[:, :10]).all()
    few_QK, scores_QK = neighbours.nearest(queries_QD, vectors_ND, kept_N, 3)
    assert few_QK.tolist() == [[4, -1, -1]] * 5
    assert np.isinf(scores_QK[:, 1:]).all()


def test_recall_is_the_share_of_the_true_ids_and_places_without_one_do_not_count(peers: ModuleType) -> None:
    recall = inner("neighbours").recall
    truth = np.array([[1, 2, 3, 4], [5, 6, -1, -1]])
    assert recall(truth, truth[:, ::-1]) == 1.0
    assert recall(truth, np.array([[1, 2, 9, 9], [6, -1, -1, -1]])) == 0.5


@pytest.mark.parametrize(
    ("ids", "lost", "doubled", "torn", "beyond"),
    [
        (range(20), 0, 0, 0, 0),
        (range(30), 0, 0, 0, 0),  # the batch under way is there whole
        (range(23), 0, 0, 3, 0),
        (range(15), 5, 0, 0, 0),
        ([*range(19), 3, 3], 1, 2, 0, 0),
        ([*range(20), 77], 0, 0, 0, 1),
    ],
)
def test_what_a_kill_left_is_counted(peers: ModuleType, ids: Any, lost: int, doubled: int, torn: int, beyond: int) -> None:
    found = inner("neighbours").left(list(ids), acknowledged=20, batch=10, sent=100)
    assert (found.lost, found.doubled, found.torn, found.beyond) == (lost, doubled, torn, beyond)


def test_the_last_batch_may_be_short(peers: ModuleType) -> None:
    assert inner("neighbours").left(list(range(23)), acknowledged=20, batch=10, sent=23).torn == 0


def test_a_folder_that_does_not_open_lost_all_that_it_held(peers: ModuleType) -> None:
    fine = {"opened": True, "acknowledged": 10, "lost": 0, "doubled": 0, "torn": 0, "beyond": 0, "open_s": 1.0}
    assert inner("kills").summary([fine, fine])["survives"] is True
    found = inner("kills").summary([fine, {"opened": False, "acknowledged": 10, "error": "x"}])
    assert (found["survives"], found["lost"], found["opened"]) == (False, 10, 1)


@pytest.mark.parametrize("variant", ["prompt", "lazy"])
def test_a_writer_that_is_killed_keeps_what_it_wrote_and_one_that_only_says_so_does_not(
    fake: Callable[..., Any], tmp_path: Path, variant: str
) -> None:
    contender = fake(variant=variant)
    files = {name: Path(file) for name, file in rows_of(tmp_path, 50_000).items()}

    def start(data: Path) -> Any:
        return inner("process").PeerProcess(contender, data, 4, environments=tmp_path, cores=1)

    found = inner("kills").kill_rounds(start, tmp_path, **files, kills=2, before=100, batch=10, rng=random.Random(0))
    assert found["opened"] == found["kills"] == 2
    assert found["survives"] is (variant == "prompt")
    assert (found["lost"] > 0) is (variant == "lazy")


@pytest.mark.parametrize(("most_s", "asked"), [(60.0, 30), (0.0, 5)])
def test_a_point_of_a_slow_peer_ends_after_its_seconds_and_five_queries(
    peers: ModuleType, fake: Callable[..., Any], tmp_path: Path, most_s: float, asked: int
) -> None:
    np.save(tmp_path / "queries.npy", np.zeros((30, 4), np.float32))
    truths = {(name, 5): np.tile(np.arange(10) % 5, (30, 1)) for name in peers.FILTERS}
    row = {"rows": 5, "efforts": [0]}
    with inner("process").PeerProcess(fake(), tmp_path / "data", 4, environments=tmp_path, cores=1) as started:
        started.ask("open")
        started.ask("load", **rows_of(tmp_path, 5), first=0, count=5, batch=5, save=False)
        peers.one_turn(started, row, truths, -1, str(tmp_path / "queries.npy"), str(tmp_path / "out.npy"), most_s)
    point = row["curves"]["unfiltered"][0]
    assert point["queries"] == asked
    assert point["recall"] == 1.0


def test_foveal_is_held_against_the_fastest_database_that_survives(peers: ModuleType) -> None:
    def row(p50: float, recall: float = 0.99, rows: int = 100, survives: bool = True) -> dict[str, Any]:
        point = {"effort": 1, "recall": recall, "p50_turns_ms": [p50, 2 * p50], "p50_ms": p50}
        poor = {"effort": 0, "recall": 0.5, "p50_turns_ms": [p50 / 100] * 2, "p50_ms": p50 / 100}
        return {"rows": rows, "kill": {"survives": survives}, "curves": {"unfiltered": [poor, point]}}

    found = peers.verdict(
        {
            "foveal": row(2.0),
            "qdrant-edge": row(2.5),
            "lancedb-hnsw-sq": row(1.0, survives=False),
            "lancedb-ivf-pq": row(1.0, recall=0.97),
            "qdrant-local": row(1.0, rows=20),
            "faiss-hnsw": row(0.5),
        },
        100,
    )["unfiltered"]
    assert found["best_database_that_survives"] == "qdrant-edge"
    assert found["ratio_to_best"]["median"] == pytest.approx(0.8)
    assert found["met"] is True
    assert found["ratio_to"]["faiss-hnsw"]["median"] == pytest.approx(4.0)
    assert "qdrant-local" not in found["ratio_to"]
    assert "lancedb-ivf-pq" not in found["ratio_to"]


def test_a_peer_that_fails_ends_no_other(fake: Callable[..., Any], tmp_path: Path) -> None:
    contender = fake(KEEPS.replace("def open", "def never"))
    with (
        inner("process").PeerProcess(contender, tmp_path / "data", 4, environments=tmp_path, cores=1) as started,
        pytest.raises(importlib.import_module("lines").ChildError, match="fake, open: AttributeError"),
    ):
        started.ask("open")


def test_every_contender_has_its_peer_and_its_pins(peers: ModuleType) -> None:
    for contender in inner("process").CONTENDERS.values():
        folder = BENCHMARKS / "peers_retrieval" / contender.folder
        assert (folder / "peer.py").exists()
        assert (folder / "requirements.txt").exists() is (contender.name != "foveal")
    assert sys.executable == str(importlib.import_module("environments").python_of(Path("nowhere.txt"), Path()))
