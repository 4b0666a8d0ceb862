"""Where the relevant items of a gallery rank, for many queries at once, ties in expectation. Knows nothing of studies.

Equal similarities are no order: identical notes have one and the same vector, and whoever sorts them by row number reports
luck. Every figure is therefore the expectation over random orders within a tie (McSherry and Najork, ECIR 2008).
Shapes: Q queries, N gallery items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_train.evaluation.intervals import Float, divide

Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
TIE_DECIMALS = 6
"""Cosines of unit vectors in float32 are good to about 1e-7: what is equal to six decimals is one similarity."""


def rounded(similarity_QN: npt.NDArray[Any]) -> Float:
    """Similarities at the precision they have."""
    return np.asarray(np.round(similarity_QN.astype(np.float64), TIE_DECIMALS), np.float64)


def strict_hits(similarity_QN: Float, own_Q: Int, k: int) -> Float:
    """Probability that each query's own item is among the first `k`.

    Args:
        similarity_QN: rounded similarities.
        own_Q: gallery index of each query's own item.
        k: length of the list.
    """
    own = similarity_QN[np.arange(len(own_Q)), own_Q][:, None]
    above_Q = (similarity_QN > own).sum(1)
    tied_Q = (similarity_QN == own).sum(1)  # at least the item itself
    return np.asarray(np.clip((k - above_Q) / tied_Q, 0, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Galleries sorted by falling similarity, with what is known of each place's tie."""

    order_QN: Int
    """Gallery index at each place."""
    start_QN: Int
    """Places before the tie that a place belongs to."""
    size_QN: Int
    """Items in that tie."""

    def tied_mean(self, values_QN: Float) -> Float:
        """Each place's expected value: the mean over its tie. `values_QN` is in gallery order."""
        sorted_QN = np.take_along_axis(values_QN, self.order_QN, axis=1)
        before = np.concatenate([np.zeros((len(sorted_QN), 1)), np.cumsum(sorted_QN, axis=1)], axis=1)
        end_QN = self.start_QN + self.size_QN
        total = np.take_along_axis(before, end_QN, axis=1) - np.take_along_axis(before, self.start_QN, axis=1)
        return np.asarray(total / self.size_QN)


def rank(similarity_QN: Float) -> Ranked:
    """Sort galleries; `similarity_QN` is rounded."""
    order_QN = np.argsort(-similarity_QN, axis=1, kind="stable")
    sorted_QN = np.take_along_axis(similarity_QN, order_QN, axis=1)
    queries, items = sorted_QN.shape
    first_QN = np.ones((queries, items), bool)
    first_QN[:, 1:] = sorted_QN[:, 1:] != sorted_QN[:, :-1]
    place = np.arange(items)
    start_QN = np.maximum.accumulate(np.where(first_QN, place, 0), axis=1)
    last_QN = np.ones((queries, items), bool)
    last_QN[:, :-1] = first_QN[:, 1:]
    end_QN = np.minimum.accumulate(np.where(last_QN, place + 1, items)[:, ::-1], axis=1)[:, ::-1]
    return Ranked(order_QN=order_QN, start_QN=start_QN, size_QN=end_QN - start_QN)


def _log_choose(n: Float, k: Float) -> Float:
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def any_hits(ranked: Ranked, relevant_QN: Bool, k: int) -> Float:
    """Probability that at least one relevant item is among the first `k`."""
    queries, items = relevant_QN.shape
    if k >= items:
        return np.asarray(relevant_QN.any(1), np.float64)
    rows = np.arange(queries)
    sorted_QN = np.take_along_axis(relevant_QN, ranked.order_QN, axis=1)
    before_QN = np.concatenate([np.zeros((queries, 1), np.int64), np.cumsum(sorted_QN, axis=1)], axis=1)
    start_Q, size_Q = ranked.start_QN[:, k - 1], ranked.size_QN[:, k - 1]
    sure_Q = before_QN[rows, start_Q] > 0
    inside_Q = before_QN[rows, start_Q + size_Q] - before_QN[rows, start_Q]
    drawn_Q = k - start_Q
    # None of the tie's relevant items among those drawn from it: hypergeometric; impossible when too few others are left.
    others_Q = size_Q - inside_Q
    enough_Q = others_Q >= drawn_Q
    none = np.exp(
        _log_choose(np.where(enough_Q, others_Q, drawn_Q).astype(np.float64), drawn_Q.astype(np.float64))
        - _log_choose(size_Q.astype(np.float64), drawn_Q.astype(np.float64))
    )
    return np.where(sure_Q, 1.0, 1 - np.where(enough_Q, none, 0.0))


def average_precision(ranked: Ranked, relevant_QN: Bool) -> Float:
    """Average precision over the whole gallery; NaN for a query without relevant items."""
    sorted_QN = np.take_along_axis(relevant_QN, ranked.order_QN, axis=1).astype(np.float64)
    before_QN = np.concatenate([np.zeros((len(sorted_QN), 1)), np.cumsum(sorted_QN, axis=1)], axis=1)
    earlier_QN = np.take_along_axis(before_QN, ranked.start_QN, axis=1)
    inside_QN = np.take_along_axis(before_QN, ranked.start_QN + ranked.size_QN, axis=1) - earlier_QN
    place_QN = np.arange(1, relevant_QN.shape[1] + 1)
    within_QN = place_QN - ranked.start_QN
    # Expected relevant items up to a place of a tie, given that this very place holds one.
    share_QN = (inside_QN - 1) * (within_QN - 1) / np.maximum(ranked.size_QN - 1, 1)
    gained_QN = inside_QN / ranked.size_QN * (earlier_QN + 1 + share_QN) / place_QN
    total_Q = relevant_QN.sum(1)
    return divide(gained_QN.sum(1), total_Q)


def discounts(items: int, k: int) -> Float:
    """Weight of each place: 1 / log2(place + 1) up to `k`, then 0."""
    weights = 1 / np.log2(np.arange(2, items + 2))
    weights[k:] = 0
    return weights


def ndcg(ranked: Ranked, gains_QN: Float, k: int) -> Float:
    """Normalised discounted cumulative gain of the first `k`; NaN where every gain is 0."""
    weights = discounts(gains_QN.shape[1], k)
    got_Q = ranked.tied_mean(gains_QN) @ weights
    best_Q = -np.sort(-gains_QN, axis=1) @ weights
    return divide(got_Q, best_Q)
