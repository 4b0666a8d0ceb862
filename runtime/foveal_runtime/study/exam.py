"""From graded photographs of one visit to a verdict per eye and for the patient: the rule, and nothing else.

As in screening programmes, the most severe gradable finding decides. An eye's grade is the worst ICDR grade of its gradable
photographs, ties going to the higher probability of referable DR; the eye is referable when any of them is. The patient's
grade is the worse eye's. A photograph that failed or can't be graded decides nothing. A visit is complete when both eyes were
given and each has a gradable photograph; only a complete one can clear a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal_runtime.study.study import Eye


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one gradable photograph shows."""

    icdr: int
    referable: bool
    probability: float
    """Of referable DR."""

    @property
    def severity(self) -> tuple[int, float]:
        """Orders findings, worst last."""
        return self.icdr, self.probability


@dataclass(frozen=True, kw_only=True, slots=True)
class EyeVerdict:
    """One eye; without a gradable photograph, everything but the eye is None."""

    eye: Eye
    finding: Finding | None
    """The deciding one's grade; referable and the probability over all of the eye's photographs."""
    deciding: int | None
    """Index of the photograph that decided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExamVerdict:
    """A visit."""

    eyes: tuple[EyeVerdict, ...]
    """Those the request named, right before left."""
    worst: EyeVerdict | None
    """The eye that decided."""
    referable: bool | None
    complete: bool

    @property
    def undecided(self) -> bool:
        """Nothing referable was found, but only a complete visit can clear a patient."""
        return self.referable is False and not self.complete


def judge(photographs: Sequence[tuple[Eye | None, Finding | None]]) -> ExamVerdict:
    """Apply the rule to the photographs of one visit, each with its eye and what it shows (None: nothing gradable)."""
    eyes = []
    for eye in Eye:
        shown = [(i, finding) for i, (side, finding) in enumerate(photographs) if side is eye]
        if not shown:
            continue
        gradable = [(i, finding) for i, finding in shown if finding is not None]
        if not gradable:
            eyes.append(EyeVerdict(eye=eye, finding=None, deciding=None))
            continue
        deciding, worst = max(gradable, key=lambda pair: pair[1].severity)
        whole = Finding(
            icdr=worst.icdr,
            referable=any(finding.referable for _, finding in gradable),
            probability=max(finding.probability for _, finding in gradable),
        )
        eyes.append(EyeVerdict(eye=eye, finding=whole, deciding=deciding))
    seen = [eye for eye in eyes if eye.finding is not None]
    worst_eye = max(seen, key=_severity, default=None)
    return ExamVerdict(
        eyes=tuple(eyes),
        worst=worst_eye,
        referable=any(eye.finding is not None and eye.finding.referable for eye in seen) if seen else None,
        complete=len(seen) == len(Eye),
    )


def _severity(eye: EyeVerdict) -> tuple[int, float]:
    assert eye.finding is not None
    return eye.finding.severity
