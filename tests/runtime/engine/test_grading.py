"""When an answer is withheld, and what a bundle must know for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundles import add_trust, write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.calibration import OperatingPoint
from foveal_runtime.engine.answers import Outcome
from foveal_runtime.engine.grading import Grades, GradeSet, Reason, Referable, abstention, check_abstains
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import Modality

BOTH = frozenset(Reason)


def outcome(novelty: float | None) -> Outcome:
    return Outcome(
        subset=frozenset({Modality.IMAGE}), logits={}, vectors={}, imputed=(), truncated=False, quality=None, eye=None,
        prepare_ms=0.0, compute_ms=0.0, batch_size=1, novelty=novelty,
    )  # fmt: skip


def grades(refer: bool, *might: int) -> Grades:
    point = OperatingPoint(name="screening", threshold=0.5)
    decided = Referable(decision=refer, probability=0.9 if refer else 0.1, operating_point=point)
    return Grades(schemes={}, referable=decided, icdr_set=GradeSet(grades=might, coverage=0.9) if might else None)


@pytest.mark.parametrize(
    ("novelty", "given", "expected"),
    [
        (0.9, grades(False, 0, 1), None),
        (1.1, grades(False, 0), Reason.OUT_OF_DISTRIBUTION),
        (1.1, grades(True, 3), Reason.OUT_OF_DISTRIBUTION),
        (None, grades(False, 0, 1), None),
        (0.9, grades(False, 1, 2), Reason.UNDECIDED),
        (0.9, grades(True, 1, 2), None),
        (0.9, grades(False), None),
    ],
)
def test_what_is_unlike_or_undecided_is_withheld_and_what_is_referred_stays_so(
    novelty: float | None, given: Grades, expected: Reason | None
) -> None:
    found = abstention(outcome(novelty), given, BOTH)
    assert (found.reason if found else None) == expected
    assert abstention(outcome(novelty), given, frozenset()) is None


def test_a_policy_that_a_bundle_can_t_follow_is_refused(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b")
    manifest = Bundle.open(path).manifest
    check_abstains(manifest, frozenset())
    with pytest.raises(ConfigError, match="--abstain out-of-distribution: this bundle does not know its training photographs"):
        check_abstains(manifest, frozenset({Reason.OUT_OF_DISTRIBUTION}))
    with pytest.raises(ConfigError, match="--abstain undecided: this bundle has no grade sets"):
        check_abstains(manifest, frozenset({Reason.UNDECIDED}))
    add_trust(path, limit=1.0)
    check_abstains(Bundle.open(path).manifest, BOTH)
