"""Retrieval figures against brute force over every order of a tie, and ceilings worked out by hand."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from foveal_train.evaluation import ranking
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.retrieval import LabelSet, direction_figures, label_ceiling, strict_ceiling


def by_brute_force(similarity: np.ndarray, relevant: np.ndarray, gains: np.ndarray, own: int, k: int) -> np.ndarray:
    """Mean of (strict hit, any hit, average precision, nDCG) over every order that the similarities allow."""
    n, found = len(similarity), []
    weights = np.where(np.arange(n) < k, 1 / np.log2(np.arange(2, n + 2)), 0)
    for tie_break in permutations(range(n)):
        order = sorted(range(n), key=lambda j: (-similarity[j], tie_break[j]))
        hits = relevant[order]
        precision = np.mean([hits[: p + 1].mean() for p in range(n) if hits[p]])
        ndcg = gains[order] @ weights / (np.sort(gains)[::-1] @ weights)
        found.append((own in order[:k], hits[:k].any(), precision, ndcg))
    return np.asarray(np.mean(np.asarray(found, float), axis=0))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_ties_count_in_expectation(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, relevant, gains = rng.integers(0, 3, 6).astype(float), rng.random(6) < 0.5, rng.random(6)
    relevant[0] = True
    ranked = ranking.rank(similarity[None])
    got = (
        ranking.strict_hits(similarity[None], np.asarray([3]), k)[0],
        ranking.any_hits(ranked, relevant[None], k)[0],
        ranking.average_precision(ranked, relevant[None])[0],
        ranking.ndcg(ranked, gains[None], k)[0],
    )
    np.testing.assert_allclose(np.asarray(got), by_brute_force(similarity, relevant, gains, 3, k))


def test_ceiling_is_the_sum_of_min_count_and_k_over_the_number_of_queries() -> None:
    groups = np.asarray([0] * 8 + [1] * 3 + [2])
    assert strict_ceiling(groups, 1) == pytest.approx(3 / 12)
    assert strict_ceiling(groups, 5) == pytest.approx((5 + 3 + 1) / 12)
    assert strict_ceiling(groups, 10) == 1


def figures(
    text: np.ndarray,
    image: np.ndarray,
    groups: np.ndarray,
    *,
    queries: np.ndarray | None = None,
    labels: list[LabelSet] | None = None,
) -> dict[str, Any]:
    everyone = np.arange(len(groups))
    return direction_figures(
        text,
        image,
        queries=everyone if queries is None else queries,
        gallery=everyone,
        note_groups_N=groups,
        labels=labels or [LabelSet(name="note", codes_N=groups)],
        resamples=resample([str(i) for i in everyone], count=20, seed=0),
    )


def test_a_model_that_knows_the_note_alone_reaches_the_ceiling_exactly_and_no_more() -> None:
    groups = np.asarray([0] * 8 + [1] * 3 + [2])
    perfect = np.eye(4)[groups]
    for text, image in ((perfect, perfect), (perfect, perfect + 0.0)):
        found = figures(text, image, groups)
        for k in ("1", "5", "10"):
            assert found["strict"]["recall"][k]["value"] == pytest.approx(found["strict"]["ceiling"][k])
        assert found["labels"]["note"]["recall"]["1"]["value"] == 1
        assert found["labels"]["note"]["map"]["value"] == pytest.approx(1)
        assert found["labels"]["note"]["ndcg"]["value"] == pytest.approx(1)
    assert found["distinct_notes"] == 3


def test_a_leak_from_the_photograph_shows_as_recall_above_the_ceiling() -> None:
    groups = np.zeros(20, np.int64)
    groups[10:] = 1
    own = np.eye(20)
    found = figures(own, own, groups)
    assert found["strict"]["recall"]["1"]["value"] == 1
    assert found["strict"]["ceiling"]["1"] == pytest.approx(0.1)


def test_a_collapsed_model_scores_chance_and_not_luck() -> None:
    groups = np.arange(40) % 4
    same = np.tile(np.eye(8)[0], (40, 1)).astype(np.float32)
    found = figures(same, same, groups)
    assert found["strict"]["recall"]["5"]["value"] == pytest.approx(5 / 40)
    note = found["labels"]["note"]
    assert note["map"]["value"] == pytest.approx(note["chance"]["map"])
    assert note["recall"]["1"]["value"] == pytest.approx(10 / 40)


def test_photographs_without_a_note_are_in_the_gallery_and_ask_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 8))
    groups = np.arange(30)
    found = figures(vectors, vectors, groups, queries=np.arange(12))
    assert (found["queries"], found["gallery"]) == (12, 30)
    assert found["strict"]["chance"]["1"] == pytest.approx(1 / 30)


def test_gains_are_the_jaccard_overlap_of_findings() -> None:
    flags = np.asarray([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], float)
    labels = LabelSet(name="findings", codes_N=np.asarray([0, 1, 2, 3, 3]), flags_NL=flags)
    everyone = np.arange(5)
    expected = np.asarray([[1, 0.5, 0, 0, 0], [0, 0, 0, 1, 1]])
    np.testing.assert_allclose(labels.gains(np.asarray([0, 3]), everyone), expected)
    np.testing.assert_array_equal(labels.relevant(np.asarray([3]), everyone), [[False, False, False, True, True]])


def test_queries_without_the_label_are_left_out_of_label_figures() -> None:
    rng = np.random.default_rng(0)
    vectors, grades = rng.standard_normal((30, 8)), np.arange(30) % 3
    grades[:10] = -1
    found = figures(vectors, vectors, np.arange(30), labels=[LabelSet(name="icdr", codes_N=grades)])
    assert found["labels"]["icdr"]["map"]["n"] == 20
    assert found["strict"]["recall"]["1"]["n"] == 30


def test_chunks_of_queries_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal_train.evaluation import retrieval

    rng = np.random.default_rng(0)
    text, image, groups = rng.standard_normal((25, 6)), rng.standard_normal((25, 6)), np.arange(25) % 7
    whole = figures(text, image, groups)
    monkeypatch.setattr(retrieval, "_CELLS", 25 * 4)
    assert figures(text, image, groups) == whole


def test_the_best_of_a_note_is_certain_where_the_note_settles_the_label_and_less_where_it_does_not() -> None:
    notes = np.asarray([0] * 6 + [1] * 4)
    grades = np.asarray([0] * 6 + [2, 2, 3, 4])
    assert label_ceiling(notes, notes, 1) == 1
    assert label_ceiling(notes, grades, 1) == pytest.approx((6 + 2) / 10)
    assert label_ceiling(notes, grades, 5) == 1
    assert label_ceiling(notes, np.full(10, -1), 1) is None
    # Nothing that is the same for equal notes finds more, whatever it prefers.
    rng = np.random.default_rng(0)
    photographs = np.eye(10)
    for _ in range(20):
        queries = rng.normal(size=(2, 10))[notes]
        found = figures(queries, photographs, notes, labels=[LabelSet(name="icdr", codes_N=grades)])
        best = found["labels"]["icdr"]["best"]["recall"]["1"]
        assert found["labels"]["icdr"]["recall"]["1"]["value"] <= best + 1e-9
    assert found["labels"]["icdr"]["best"]["map"] is None
