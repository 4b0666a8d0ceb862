"""Median, least and most of what turns found: how far a figure can be trusted where turns are too few for an interval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most, to three digits behind the point; one value at least."""
    return {name: round(of(values), 3) for name, of in (("median", statistics.median), ("least", min), ("most", max))}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Spread of one over the other, turn by turn; as many of each."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])
