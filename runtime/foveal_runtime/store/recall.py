"""How much an approximate search finds of what an exact one finds, on live vectors. Changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foveal_runtime.store.entry import Float32, SearchResult

_TIE = 1e-6
"""A hit as good as the last exact one counts, whichever of two equal items it is."""


class Searched(Protocol):
    """What a check needs of an archive."""

    async def sample(self, n: int, *, kind: str, seed: int) -> list[tuple[str, Float32]]:
        """Some stored vectors with their ids."""

    async def search(self, vector_D: Float32, *, kind: str, k: int, exact: bool) -> SearchResult:
        """The nearest vectors of a kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """Result of a check of one kind."""

    kind: str
    sampled: int
    """Stored vectors that were searched for."""
    k: int
    recall: float
    """Mean over the sample of the share of the exact top k that was found; the vector itself left out."""
    worst: float
    exact: bool
    """True when no approximate index answered, so that recall is 1 by construction."""
    search_p50_ms: float
    search_p99_ms: float
    exact_p50_ms: float


async def check_recall(archive: Searched, *, kind: str, sample: int = 50, k: int = 10, seed: int = 0) -> Recall | None:
    """Search for a random sample of the stored vectors both ways. None when the kind has no vectors.

    Args:
        archive: an open archive.
        kind: which vectors.
        sample: how many, at most; each costs an exact search.
        k: neighbours compared.
        seed: of the sample.
    """
    queries = await archive.sample(sample, kind=kind, seed=seed)
    if not queries:
        return None
    shares, fast_ms, exact_ms = [], [], []
    exact = True
    for item_id, vector_D in queries:
        fast, spent = await _timed(archive, vector_D, kind, k + 1, exact=False)
        fast_ms.append(spent)
        true, spent = await _timed(archive, vector_D, kind, k + 1, exact=True)
        exact_ms.append(spent)
        exact = exact and fast.exact
        shares.append(_share(fast, true, item_id, k))
    return Recall(
        kind=kind,
        sampled=len(queries),
        k=k,
        recall=float(np.mean(shares)),
        worst=float(np.min(shares)),
        exact=exact,
        search_p50_ms=float(np.percentile(fast_ms, 50)),
        search_p99_ms=float(np.percentile(fast_ms, 99)),
        exact_p50_ms=float(np.percentile(exact_ms, 50)),
    )


def _share(fast: SearchResult, true: SearchResult, own_id: str, k: int) -> float:
    wanted = [hit for hit in true.hits if hit.id != own_id][:k]
    if not wanted:
        return 1.0
    found = {hit.id for hit in fast.hits}
    as_good = sum(1 for hit in fast.hits if hit.id != own_id and hit.score >= wanted[-1].score - _TIE)
    return max(sum(1 for hit in wanted if hit.id in found), min(as_good, len(wanted))) / len(wanted)


async def _timed(archive: Searched, vector_D: Float32, kind: str, k: int, *, exact: bool) -> tuple[SearchResult, float]:
    began = time.perf_counter()
    result = await archive.search(vector_D, kind=kind, k=k, exact=exact)
    return result, (time.perf_counter() - began) * 1e3
