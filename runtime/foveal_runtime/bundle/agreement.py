"""When does a changed answer count? One rule for the export's verdict, `verify` and the golden replay. Runs no model.

A grade or a decision counts as changed when the reference was sure of it: the margin between its two likeliest classes (for a
referral: its distance from being decided the other way) is above the tie margin. Below it the reference itself would
have said the other thing after a rounding, so a change there is a near-tie: counted apart, and excused for at most a
tenth of the studies. Shapes: N studies, G grades. Probabilities are those that are served: calibrated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.labels import REFERABLE_GRADE, referable_probability, referral_score

TIE_MARGIN = 0.02
"""Default margin in probability below which the reference was not sure."""
CHANCE = 0.05
"""Of taking an artefact that keeps a share for one that misses it."""
EXCUSED_SHARE = 0.10
"""Of a head's studies: near-ties beyond it count as changes."""

Probabilities = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """How many answers of one head changed."""

    studies: int
    changed: int
    """All of them, near-ties included."""
    near_ties: int
    """Changed where the reference was not sure."""

    @property
    def counted(self) -> int:
        """Changes that a limit is held against: the sure ones, and near-ties beyond what is excused."""
        excused = min(self.near_ties, math.floor(EXCUSED_SHARE * self.studies))
        return self.changed - excused

    def __add__(self, other: Changes) -> Changes:
        return Changes(
            studies=self.studies + other.studies,
            changed=self.changed + other.changed,
            near_ties=self.near_ties + other.near_ties,
        )


NO_CHANGES = Changes(studies=0, changed=0, near_ties=0)


def changed_grades(reference_NG: Probabilities, artefact_NG: Probabilities, tie_margin: float = TIE_MARGIN) -> Changes:
    """Compare the likeliest grades.

    Args:
        reference_NG: PyTorch's calibrated probabilities.
        artefact_NG: the artefact's.
        tie_margin: between the reference's two likeliest grades.
    """
    ordered_NG = np.sort(reference_NG, axis=-1)
    margin_N = ordered_NG[:, -1] - ordered_NG[:, -2]
    return _changes(reference_NG.argmax(axis=-1) != artefact_NG.argmax(axis=-1), margin_N, tie_margin)


def changed_decisions(
    reference_NG: Probabilities,
    artefact_NG: Probabilities,
    thresholds: tuple[float, float],
    tie_margin: float = TIE_MARGIN,
) -> Changes:
    """Compare referral decisions (docs/decision-rule.md).

    Args:
        reference_NG: PyTorch's calibrated ICDR probabilities.
        artefact_NG: the artefact's.
        thresholds: of PyTorch's and of the artefact's operating point.
        tie_margin: up to which the reference was not sure: of its probability to its threshold, and of its likeliest referable
            grade to its likeliest other one, whichever speaks more for referral.
    """
    ours, theirs = thresholds
    changed_N = (referral_score(reference_NG) >= ours) != (referral_score(artefact_NG) >= theirs)
    by_grade_N = reference_NG[:, REFERABLE_GRADE:].max(axis=1) - reference_NG[:, :REFERABLE_GRADE].max(axis=1)
    return _changes(changed_N, np.abs(np.maximum(referable_probability(reference_NG) - ours, by_grade_N)), tie_margin)


def _changes(changed_N: npt.NDArray[np.bool_], margin_N: Probabilities, tie_margin: float) -> Changes:
    return Changes(
        studies=len(changed_N), changed=int(changed_N.sum()), near_ties=int((changed_N & (margin_N <= tie_margin)).sum())
    )


def allowed(share: float, studies: int) -> int:
    """Changes among so many studies that are no evidence of more than `share` of all: always one, unless the share is 0.

    The largest number that an artefact of exactly that share would reach or exceed in one draw of twenty (a one-sided exact
    binomial test). Of 26 studies two changes don't show that more than 2 % change; of 200, eight do.
    """
    if share <= 0:
        return 0
    if share >= 1:
        return studies
    # P(X >= k), from k = 0 on; terms in logarithms, since (1 - share) ** studies may be too small for a float.
    tail, count = 1.0, 0
    log_term = studies * math.log1p(-share)
    while count < studies:
        tail -= math.exp(log_term)
        if tail <= CHANCE:
            break
        log_term += math.log(studies - count) - math.log(count + 1) + math.log(share) - math.log1p(-share)
        count += 1
    return max(1, count)
