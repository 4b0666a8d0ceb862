"""Evidence that photographs are no longer what they were, as a bet against chance. Knows no photographs: steps on grids alone.

A photograph's place among all that came before it, ties broken at random, is uniform and independent of all others' as long as
nothing changes (conformal prediction: Vovk, Gammerman and Shafer 2005). Bets on places that chance would not give multiply to
a martingale; restarted at every photograph and summed (Shiryaev 1963, Roberts 1966) they tell a change whenever it happens
(Volkhonskiy et al. 2017, Shin, Ramdas and Rinaldo 2022). However often one looks, the sum grows by one a photograph on average,
so that chance reaches `LIMIT` within n photographs with a probability of at most n / `ONE_IN`, whatever the numbers look like.
No share of normal photographs is estimated, and none can be estimated wrongly.

Photographs of one patient are alike. Each bet is taken to the power 1 / `ALIKE`: by Hölder's inequality the product over that
many photographs in a row is then no more than a bet on one, however alike they are.

Shapes: S signals, B bins, K bets.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

ONE_IN = 1e6
"""Photographs, over all signals of one camera and one reference, in which chance gives one alarm at most."""
ALIKE = 4
"""Photographs in a row that may be of one patient: two eyes, two fields each."""
_TILTS = ((1.5, 1.0), (4.0, 0.9), (10.0, 0.7), (30.0, 0.4))
"""Strength of a bet on high places, and the share of the stake that goes on it."""
_SPREAD = 6.0
BETS = 2 * len(_TILTS) + 1
"""Higher and lower values in four strengths, and values farther out on both sides."""


def limit(signals: int) -> float:
    """Logarithm of the evidence at which one of so many signals tells a change."""
    return math.log(ONE_IN * signals)


def places(counts_SB: Int64, steps_S: Int64, draws_S: Float64) -> Float64:
    """A photograph's place among those counted, 0 to 1; 0.5 where it has no number.

    Args:
        counts_SB: photographs before it.
        steps_S: its bins, -1 for none.
        draws_S: uniform random numbers, which break ties.
    """
    there_S = steps_S >= 0
    rows_S, at_S = np.arange(len(steps_S)), np.maximum(steps_S, 0)
    up_to_S = counts_SB.cumsum(axis=1)[rows_S, at_S]
    equal_S = counts_SB[rows_S, at_S]
    found_S = (up_to_S - equal_S + draws_S * (equal_S + 1)) / (counts_SB.sum(axis=1) + 1)
    return np.where(there_S, found_S, 0.5)


def bets(places_S: Float64) -> Float64:
    """Logarithms of the bets' factors, `[K, S]`; each factor's mean over uniform places is 1."""
    found = []
    for p_S in (places_S, 1 - places_S):
        found += [1 - share + share * _tilt(by, p_S) for by, share in _TILTS]
    found.append((_tilt(_SPREAD, places_S) + _tilt(_SPREAD, 1 - places_S)) / 2)
    return np.asarray(np.log(found))


def _tilt(by: float, places_S: Float64) -> Float64:
    return np.asarray(by * np.exp(by * (places_S - 1)) / -np.expm1(-by))


class Evidence:
    """The running evidence of some signals."""

    def __init__(self, signals: int) -> None:
        self.logs_KS: Float64 = np.full((BETS, signals), -np.inf)
        """Logarithm of each bet's sum."""

    def add(self, places_S: Float64, there_S: npt.NDArray[np.bool_]) -> None:
        """Bet on one photograph.

        Args:
            places_S: as `places` gives them.
            there_S: which signals it has; the others' evidence stays.
        """
        after_KS = np.logaddexp(0.0, self.logs_KS) + bets(places_S) / ALIKE
        self.logs_KS = np.where(there_S, after_KS, self.logs_KS)

    @property
    def levels(self) -> Float64:
        """Logarithm of each signal's evidence: the mean of its bets."""
        return np.asarray(np.logaddexp.reduce(self.logs_KS, axis=0) - math.log(BETS))

    def clear(self, signals: npt.NDArray[np.bool_] | slice = slice(None)) -> None:
        """Begin anew."""
        self.logs_KS[:, signals] = -np.inf
