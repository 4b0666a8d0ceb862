"""What counts as a changed answer: one rule for the export and for the golden replay."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_runtime.bundle.agreement import allowed, changed_decisions, changed_grades


def test_a_change_counts_where_the_reference_was_sure() -> None:
    before = np.asarray([[0.6, 0.4], [0.505, 0.495], [0.6, 0.4]])
    after = np.asarray([[0.4, 0.6], [0.495, 0.505], [0.7, 0.3]])
    found = changed_grades(before, after)
    assert (found.studies, found.changed, found.near_ties) == (3, 2, 1)
    assert found.counted == 2, "a tenth of three studies excuses none"


def test_near_ties_excuse_a_tenth_of_the_studies_and_sums_excuse_a_tenth_of_the_sum() -> None:
    before, after = np.tile([0.501, 0.499], (5, 1)), np.tile([0.499, 0.501], (5, 1))
    part = changed_grades(before[:1], after[:1]) + changed_grades(before[1:], before[1:])
    whole = part + changed_grades(before, before)
    assert (part.changed, part.counted) == (1, 1)
    assert (whole.studies, whole.changed, whole.counted) == (10, 1, 0)


def _of(referable: float, *, moderate: float = 0.0) -> list[float]:
    """Probabilities whose likeliest grade is 0 as long as `referable` is spread over three grades."""
    rest = referable - moderate
    return [1 - referable, 0.0, moderate + rest / 3, rest / 3, rest / 3]


def test_a_referral_is_a_near_tie_by_its_distance_from_being_decided_the_other_way() -> None:
    before, after = np.asarray([_of(0.31), _of(0.35), _of(0.9)]), np.asarray([_of(0.29), _of(0.29), _of(0.8)])
    found = changed_decisions(before, after, (0.3, 0.3))
    assert (found.changed, found.near_ties) == (2, 1)
    assert changed_decisions(before, before, (0.3, 0.5)).changed == 2, "each side has its own threshold"


def test_a_referral_by_its_grade_alone_changes_with_the_grade() -> None:
    by_grade, without = np.asarray([_of(0.51, moderate=0.505)]), np.asarray([_of(0.4)])
    found = changed_decisions(by_grade, without, (0.9, 0.9))
    assert (found.changed, found.near_ties) == (1, 1), "grade 2 led grade 0 by less than the tie margin"
    sure = np.asarray([_of(0.7, moderate=0.69)])
    assert changed_decisions(sure, without, (0.9, 0.9)).counted == 1


@pytest.mark.parametrize(
    ("share", "studies", "limit"), [(0, 1000, 0), (0.01, 5, 1), (0.01, 10, 1), (0.02, 26, 2), (0.02, 200, 7), (1, 9, 9)]
)
def test_a_share_allows_what_is_no_evidence_of_more_and_always_one_study_unless_it_is_zero(
    share: float, studies: int, limit: int
) -> None:
    assert allowed(share, studies) == limit


@pytest.mark.parametrize("share", [0.003, 0.01, 0.02, 0.3])
@pytest.mark.parametrize("studies", [40, 600, 4000])
def test_what_a_share_allows_is_the_exact_binomial_test(share: float, studies: int) -> None:
    from scipy.stats import binom

    limit = allowed(share, studies)
    assert binom.sf(limit - 1, studies, share) > 0.05 or limit == 1
    assert binom.sf(limit, studies, share) <= 0.05
