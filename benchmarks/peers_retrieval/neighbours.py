"""Exact neighbours, recall, and what of acknowledged rows a crash left: arithmetic on ids, no peer and no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
_ROWS = 100_000
COLUMNS = {"grade": 0, "site": 1}


def passing(facts_N2: npt.NDArray[np.int16], where: Mapping[str, int]) -> npt.NDArray[np.bool_]:
    """Rows that a filter keeps [N]."""
    kept = np.ones(len(facts_N2), bool)
    for name, value in where.items():
        kept &= facts_N2[:, COLUMNS[name]] == value
    return kept


def nearest(queries_QD: Any, vectors_ND: Any, kept_N: npt.NDArray[np.bool_], k: int) -> tuple[Ids, Any]:
    """Ids [Q, k] and cosines [Q, k] of the nearest unit vectors among those kept, best first; -1 and -inf where fewer are."""
    best_QK = np.full((len(queries_QD), k), -np.inf, np.float32)
    ids_QK = np.full((len(queries_QD), k), -1, np.int64)
    for start in range(0, len(vectors_ND), _ROWS):
        rows = start + np.flatnonzero(kept_N[start : start + _ROWS])
        if not len(rows):
            continue
        scores_QN = queries_QD @ np.asarray(vectors_ND[rows]).T
        scores_Q = np.concatenate([best_QK, scores_QN], axis=1)
        ids_Q = np.concatenate([ids_QK, np.broadcast_to(rows, scores_QN.shape)], axis=1)
        order_QK = np.argsort(-scores_Q, axis=1, kind="stable")[:, :k]
        best_QK, ids_QK = (np.take_along_axis(each, order_QK, axis=1) for each in (scores_Q, ids_Q))
    return ids_QK, best_QK


def recall(truth_QK: Ids, found_QK: Ids) -> float:
    """Mean share of the true neighbours that were found, by id: a tie that fell the other way costs."""
    shares = []
    for truth_K, found_K in zip(truth_QK, found_QK, strict=True):
        wanted = set(truth_K[truth_K >= 0].tolist())
        if wanted:
            shares.append(len(wanted & set(found_K.tolist())) / len(wanted))
    return float(np.mean(shares)) if shares else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """Of one kill."""

    acknowledged: int
    found: int
    lost: int
    """Acknowledged and not there."""
    doubled: int
    """There more than once."""
    torn: int
    """Of the batch that was being written: there in part; 0 when it is there whole or not at all."""
    beyond: int
    """There and never sent."""


def left(found: Sequence[int] | Ids, *, acknowledged: int, batch: int, sent: int) -> Left:
    """Count, when rows are numbered from 0 in the order in which they were sent.

    Args:
        found: ids after the crash, in any order.
        acknowledged: rows that were.
        batch: rows of one write.
        sent: rows that were sent in the end, or would have been.
    """
    ids, times = np.unique(np.asarray(found, np.int64), return_counts=True)
    in_flight = min(sent, acknowledged + batch) - acknowledged
    there = int(((ids >= acknowledged) & (ids < acknowledged + in_flight)).sum())
    return Left(
        acknowledged=acknowledged,
        found=len(ids),
        lost=acknowledged - int((ids < acknowledged).sum()),
        doubled=int((times - 1).sum()),
        torn=there if there < in_flight else 0,
        beyond=int((ids >= acknowledged + in_flight).sum()),
    )
