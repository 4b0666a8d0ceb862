"""From raw logits to what a clinic reads: calibrated probabilities, grade, referral decision. No I/O, no arrays of batches.

Calibration is per modality subset (DESIGN, section 4): temperature scaling (Guo et al. 2017) and the operating points that
validation chose. Where a bundle has none, temperature is 1 and the threshold 0.5, and the answer says "default".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from foveal_runtime.bundle.calibration import OperatingPoint, SubsetCalibration
from foveal_runtime.bundle.manifest import Evidence, Manifest
from foveal_runtime.engine.answers import Outcome
from foveal_runtime.errors import ConfigError, UntrainedError, UnverifiedError
from foveal_runtime.study.gradeset import grade_set
from foveal_runtime.study.labels import ICDR, REFERABLE_GRADE, Head, referable_probability, referral_score
from foveal_runtime.study.study import Subset, subset_name


class Reason(StrEnum):
    """Why an answer may be withheld, where a server is told to."""

    OUT_OF_DISTRIBUTION = "out-of-distribution"
    """The photograph is unlike those that the model was trained on."""
    UNDECIDED = "undecided"
    """It is not referred, yet a referable grade is among those that it may have."""


PROVEN_ALONE = frozenset({Evidence.PROVEN})
"""Evidence whose grades are given unasked."""
DEFAULT_POINT = OperatingPoint(name="default", threshold=0.5)
"""Used where validation fitted none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemeGrade:
    """What one head says; of a grading scheme a grade."""

    grade: int
    name: str
    names: tuple[str, ...]
    """Of all classes."""
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Referable:
    """The referral decision."""

    decision: bool
    """Refer: the probability reaches the threshold, or the ICDR grade is 2 or worse (docs/decision-rule.md)."""
    probability: float
    operating_point: OperatingPoint

    @property
    def by_grade_alone(self) -> bool:
        """The grade refers by itself: the probability lies below the threshold."""
        return self.decision and self.probability < self.operating_point.threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class GradeSet:
    """Neighbouring grades that the study may have."""

    grades: tuple[int, ...]
    """Ascending; the likeliest is one of them."""
    coverage: float
    """Share of studies like those of the calibration whose grade is in their set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grades:
    """Gradings of one study; an untrained head has none, nor has an unverified one that is not allowed."""

    schemes: dict[Head, SchemeGrade]
    referable: Referable | None
    """None when there is no ICDR grade."""
    icdr_set: GradeSet | None = None
    """None when there is no ICDR grade, or the bundle has no rule for sets."""
    unverified: tuple[Head, ...] = ()
    """Trained heads that no held-out study has shown to be better than chance, for this study's modalities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """An answer that is withheld."""

    reason: Reason
    message: str


def check_abstains(manifest: Manifest, policy: frozenset[Reason]) -> None:
    """Refuse a policy that a bundle can't follow: nothing would ever be withheld.

    Raises:
        ConfigError: says what the bundle lacks.
    """
    lacks = []
    if Reason.OUT_OF_DISTRIBUTION in policy and manifest.novelty is None:
        lacks.append((Reason.OUT_OF_DISTRIBUTION, "does not know its training photographs"))
    if Reason.UNDECIDED in policy and not any(each.grade_set for each in manifest.calibration.values()):
        lacks.append((Reason.UNDECIDED, "has no grade sets"))
    for reason, what in lacks:
        raise ConfigError(
            f"--abstain {reason.value}: this bundle {what}; export it again with the data it was trained on, or leave that out"
        )


def abstention(outcome: Outcome, grades: Grades, policy: frozenset[Reason]) -> Abstention | None:
    """Whether to withhold the answer to a study.

    A study that is referred is never undecided: a person will look at it in any case.

    Args:
        outcome: of the engine.
        grades: what it would be told.
        policy: reasons that count.
    """
    if Reason.OUT_OF_DISTRIBUTION in policy and outcome.novelty is not None and outcome.novelty > 1:
        return Abstention(
            reason=Reason.OUT_OF_DISTRIBUTION,
            message="the photograph is unlike those that this model was trained on; have a person grade it",
        )
    if Reason.UNDECIDED not in policy or grades.referable is None or grades.icdr_set is None:
        return None
    highest = grades.icdr_set.grades[-1]
    if grades.referable.decision or highest < REFERABLE_GRADE:
        return None
    return Abstention(
        reason=Reason.UNDECIDED,
        message=f"referable retinopathy can't be ruled out: the grade may be {highest}; have a person grade it",
    )


def calibration_of(manifest: Manifest, subset: Subset) -> SubsetCalibration:
    """What was fitted for this modality subset; nothing fitted means temperature 1."""
    return manifest.calibration.get(subset_name(subset), SubsetCalibration())


def operating_point_of(manifest: Manifest, subset: Subset, name: str = "") -> OperatingPoint:
    """The operating point of that name of a modality subset; empty is the default one.

    A subset for which that point was not fitted is decided at its default one, which the answer names.
    """
    calibration = calibration_of(manifest, subset)
    return next((point for point in calibration.operating_points if point.name == name), default_point(calibration))


def operating_points(manifest: Manifest) -> tuple[str, ...]:
    """Names that can be chosen: of every subset's points, in the manifest's order."""
    return tuple(dict.fromkeys(point.name for each in manifest.calibration.values() for point in each.operating_points))


def check_operating_point(manifest: Manifest, name: str) -> None:
    """Refuse the name of a point that no modality subset has; empty is the default one.

    Raises:
        ConfigError: names those there are.
    """
    names = operating_points(manifest)
    if name and name not in names:
        raise ConfigError(f"no operating point {name!r}; this bundle has {', '.join(names) or 'none but the default'}")


def default_point(calibration: SubsetCalibration) -> OperatingPoint:
    """The operating point that is used unasked."""
    return calibration.operating_points[0] if calibration.operating_points else DEFAULT_POINT


def unverified_heads(manifest: Manifest, subset: Subset) -> tuple[Head, ...]:
    """Trained heads whose grades of this modality subset no held-out study has shown to be better than chance."""
    return tuple(head for head in manifest.trained_heads if not manifest.is_proven(subset_name(subset), head))


def check_given(manifest: Manifest, subset: Subset, given: frozenset[Evidence] = PROVEN_ALONE) -> None:
    """Refuse grades when no head of this subset may answer; needs no engine.

    Args:
        manifest: of the bundle.
        subset: modalities of the study.
        given: evidence whose grades may be answered.

    Raises:
        UntrainedError: its heads are trained in name alone: held-out studies can't tell them from chance.
        UnverifiedError: too few held-out studies to say.
    """
    name = subset_name(subset)
    found = {manifest.evidence_of(name, head).status for head in manifest.trained_heads}
    if not found or found & given:
        return
    if Evidence.UNVERIFIED not in found:
        raise UntrainedError(
            f"grades from {name!r} are those of a model that is hardly trained: held-out studies can't tell them from chance; "
            f"train it longer or on more studies, or start the server with --allow-untrained"
        )
    raise UnverifiedError(
        f"grades from {name!r} are unverified: too few held-out studies to show at export that this model grades "
        f"better than chance; export it with more of them, or start the server with --allow-unverified"
    )


def grade(
    outcome: Outcome, manifest: Manifest, *, given: frozenset[Evidence] = PROVEN_ALONE, operating_point: str = ""
) -> Grades:
    """Calibrate the logits of one study and decide.

    Args:
        outcome: of the engine.
        manifest: of its bundle.
        given: evidence of the heads that may answer; others are left out and named.
        operating_point: name of the point to decide at; empty, or of no fitted point, is the subset's default one.
    """
    calibration = calibration_of(manifest, outcome.subset)
    unverified = unverified_heads(manifest, outcome.subset)
    schemes: dict[Head, SchemeGrade] = {}
    referable: Referable | None = None
    icdr_set: GradeSet | None = None
    for head, logits_G in outcome.logits.items():
        if manifest.evidence_of(subset_name(outcome.subset), head).status not in given:
            continue
        probabilities_G = calibration.probabilities(head, logits_G)
        best = int(probabilities_G.argmax())
        names = manifest.heads[head]
        schemes[head] = SchemeGrade(
            grade=best, name=names[best], names=names, probabilities=tuple(float(p) for p in probabilities_G)
        )
        if head == ICDR:
            point = operating_point_of(manifest, outcome.subset, operating_point)
            referable = Referable(
                decision=bool(referral_score(probabilities_G) >= point.threshold),
                probability=float(referable_probability(probabilities_G)),
                operating_point=point,
            )
            if calibration.grade_set is not None:
                rule = calibration.grade_set
                icdr_set = GradeSet(grades=grade_set(probabilities_G, rule.quantile), coverage=rule.coverage)
    return Grades(schemes=schemes, referable=referable, icdr_set=icdr_set, unverified=unverified)
