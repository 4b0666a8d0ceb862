"""Cross-modal retrieval between photographs and notes: strict recall with its ceiling, and label-level figures. Runs no model.

The notes of BRSET hold disease flags alone, so many studies share one note. A text-only query can't tell them apart: over
all studies that share a note its expected strict R@K is at most min(count, K) / count each, hence the ceiling
Σ over distinct notes of min(count, K) / N. At most 378 distinct notes can occur among BRSET's 16,266 images, and 52 % share
the empty one: at most 2.3 % R@1 on the whole set, about 6 % on a test split of 1,627 (DESIGN, section 4).
Label-level figures ask instead whether what was found has the same labels.
Shapes: N studies, P pairs (studies with photograph and note), Q queries of a chunk, D = 256, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_train.evaluation import ranking
from foveal_train.evaluation.intervals import Float, Resamples, divide, figure, proportion
from foveal_train.evaluation.ranking import Bool, Int

KS = (1, 5, 10)
NDCG_AT = 10
_CELLS = 4_000_000
"""Query x gallery cells held at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSet:
    """One way in which two studies can be the same."""

    name: str
    """`findings`, `note` or `icdr`."""
    codes_N: Int
    """Equal for studies with the same label; negative where unknown."""
    flags_NL: Float | None = None
    """Multi-hot findings, from which nDCG takes its gains (Jaccard); None: the gain is 1 for the same label."""

    def relevant(self, queries_Q: Int, gallery_N: Int) -> Bool:
        """Whether each gallery study has the query's label."""
        own, other = self.codes_N[queries_Q][:, None], self.codes_N[gallery_N][None, :]
        return np.asarray((own == other) & (own >= 0))

    def gains(self, queries_Q: Int, gallery_N: Int) -> Float:
        """How alike the labels are, 0 to 1."""
        if self.flags_NL is None:
            return self.relevant(queries_Q, gallery_N).astype(np.float64)
        a_QL, b_NL = self.flags_NL[queries_Q], self.flags_NL[gallery_N]
        shared_QN = a_QL @ b_NL.T
        union_QN = a_QL.sum(1)[:, None] + b_NL.sum(1)[None, :] - shared_QN
        return np.asarray(np.divide(shared_QN, union_QN, out=np.ones_like(shared_QN), where=union_QN > 0))


def strict_ceiling(note_groups_P: npt.NDArray[Any], k: int) -> float:
    """Best expected strict R@K of a query that knows the note alone."""
    counts = np.unique(note_groups_P, return_counts=True)[1]
    return float(np.minimum(counts, k).sum() / counts.sum())


def label_ceiling(note_groups_P: Int, codes_P: Int, k: int) -> float | None:
    """Best label-level R@K of a query that knows the note alone: it finds the K labels that are commonest among equal notes.

    1 where the note settles the label, as it settles BRSET's findings; less where it does not, as with the ICDR grade, of which
    the note says no more than that there is one. None without a known label.
    """
    known = codes_P >= 0
    pairs, counts = np.unique(np.stack([note_groups_P[known], codes_P[known]], axis=1), axis=0, return_counts=True)
    found = sum(np.sort(counts[pairs[:, 0] == note])[-k:].sum() for note in np.unique(pairs[:, 0]))
    return float(found / known.sum()) if known.any() else None


def direction_figures(
    query_vectors_ND: npt.NDArray[Any],
    gallery_vectors_ND: npt.NDArray[Any],
    *,
    queries: Int,
    gallery: Int,
    note_groups_N: Int,
    labels: list[LabelSet],
    resamples: Resamples,
) -> dict[str, Any]:
    """All figures of one direction.

    Args:
        query_vectors_ND: unit vectors of every study; only `queries` are read.
        gallery_vectors_ND: unit vectors of every study; only `gallery` are read.
        queries: studies that ask; each is in the gallery too, where it is its own strict answer.
        gallery: studies that can be found.
        note_groups_N: equal for studies with the same note.
        labels: ways of being the same.
        resamples: of all studies; queries are resampled, the gallery stays.
    """
    gallery_GD = gallery_vectors_ND[gallery].astype(np.float64)
    return scored_figures(
        lambda part: query_vectors_ND[part].astype(np.float64) @ gallery_GD.T,
        queries=queries, gallery=gallery, note_groups_N=note_groups_N, labels=labels, resamples=resamples,
    )  # fmt: skip


def scored_figures(
    score: Callable[[Int], Float],
    *,
    queries: Int,
    gallery: Int,
    note_groups_N: Int,
    labels: list[LabelSet],
    resamples: Resamples,
) -> dict[str, Any]:
    """`direction_figures` of whoever gives the scores, as a server does.

    Args:
        score: from some of the queries to their scores [Q, gallery]; the higher, the earlier. Equal scores are a tie.
    """
    place_of = np.full(len(note_groups_N), -1)
    place_of[gallery] = np.arange(len(gallery))
    assert (place_of[queries] >= 0).all()
    columns: dict[str, list[Float]] = {}

    def keep(name: str, values_Q: Float) -> None:
        columns.setdefault(name, []).append(values_Q)

    for part in _chunks(queries, len(gallery)):
        similarity_QN = ranking.rounded(score(part))
        ranked = ranking.rank(similarity_QN)
        anyhow = ranking.rank(np.zeros_like(similarity_QN))  # one great tie: what chance finds, exactly
        for k in KS:
            keep(f"strict@{k}", ranking.strict_hits(similarity_QN, place_of[part], k))
        for label in labels:
            relevant_QN, gains_QN = label.relevant(part, gallery), label.gains(part, gallery)
            known_Q = np.where(label.codes_N[part] >= 0, 1.0, np.nan)
            for prefix, order in (("", ranked), ("chance ", anyhow)):
                for k in KS:
                    keep(f"{prefix}{label.name}@{k}", ranking.any_hits(order, relevant_QN, k) * known_Q)
                keep(f"{prefix}{label.name} map", ranking.average_precision(order, relevant_QN) * known_Q)
                keep(f"{prefix}{label.name} ndcg", ranking.ndcg(order, gains_QN, NDCG_AT) * known_Q)
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    asked = resamples.at(queries)
    groups_P = note_groups_N[queries]
    return {
        "queries": len(queries),
        "gallery": len(gallery),
        "distinct_notes": int(np.unique(groups_P).size),
        "strict": {
            "recall": {str(k): _mean(values[f"strict@{k}"], asked, share=True) for k in KS},
            "ceiling": {str(k): strict_ceiling(groups_P, k) for k in KS},
            "chance": {str(k): min(1.0, k / len(gallery)) for k in KS},
        },
        "labels": {label.name: _label_figures(label.name, values, asked, groups_P, label.codes_N[queries]) for label in labels},
    }


def _label_figures(name: str, values: dict[str, Float], asked: Resamples, note_groups_P: Int, codes_P: Int) -> dict[str, Any]:
    best = {str(k): label_ceiling(note_groups_P, codes_P, k) for k in KS}
    settled = 1.0 if best["1"] == 1 else None

    def chance(key: str) -> float | None:
        known = values[f"chance {key}"][np.isfinite(values[f"chance {key}"])]
        return float(known.mean()) if known.size else None

    return {
        "recall": {str(k): _mean(values[f"{name}@{k}"], asked, share=True) for k in KS},
        "map": _mean(values[f"{name} map"], asked),
        "ndcg": _mean(values[f"{name} ndcg"], asked),
        "ndcg_at": NDCG_AT,
        "best": {"recall": best, "map": settled, "ndcg": settled},
        "chance": {
            "recall": {str(k): chance(f"{name}@{k}") for k in KS},
            "map": chance(f"{name} map"),
            "ndcg": chance(f"{name} ndcg"),
        },
    }


def _mean(values_P: Float, asked: Resamples, *, share: bool = False) -> dict[str, Any]:
    known = np.isfinite(values_P)
    values, here = values_P[known], asked.at(known)
    sums = here.sums(np.stack([values, np.ones_like(values)], axis=1))
    make = proportion if share else figure
    return make(
        float(values.mean()) if values.size else float("nan"),
        divide(sums[:, 0], sums[:, 1]),
        n=int(values.size),
        patients=here.patients,
        undefined="no query has this label",
    )


def _chunks(queries: Int, gallery: int) -> Iterator[Int]:
    size = max(1, _CELLS // max(1, gallery))
    for start in range(0, len(queries), size):
        yield queries[start : start + size]
