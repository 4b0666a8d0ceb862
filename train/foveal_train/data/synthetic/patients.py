"""Who the generated patients are: age, diabetes, two eyes with correlated grades and flags. Draws no pixel, writes no cell.

Prevalences are near BRSET's: 6.6 % of images with retinopathy, 52 % with no finding, increased cup and drusen the commonest
flags. How age, duration, insulin and severity hang together follows clinics in direction, not in any fitted figure.
Everything about a patient comes from (seed, number) alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from foveal_runtime.study.study import Eye, Sex
from foveal_train.data.notes import Finding


class Camera(StrEnum):
    """Cameras by BRSET's names; each has a look of its own."""

    CANON = "Canon CR"
    NIKON = "NIKON NF5050"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """BRSET's four quality parameters, True where the photograph is poor."""

    focus: bool = False
    illumination: bool = False
    image_field: bool = False
    artifacts: bool = False

    @property
    def inadequate(self) -> bool:
        """True when any parameter is poor."""
        return self.focus or self.illumination or self.image_field or self.artifacts


@dataclass(frozen=True, kw_only=True, slots=True)
class EyeState:
    """What is to be seen in one eye."""

    eye: Eye
    icdr: int
    sdrg: int
    severity: float
    """Place within the grade, 0 to 1: how many lesions of its kind."""
    findings: frozenset[Finding]
    quality: Quality
    laser: bool
    """Proliferative disease was treated by panretinal laser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """One person; both eyes are photographed by one camera."""

    number: int
    age_years: float
    sex: Sex
    camera: Camera
    diabetes: bool
    diabetes_years: float | None
    """None without diabetes."""
    insulin: bool
    eyes: tuple[EyeState, EyeState]


DIABETES_SHARE = 0.165
GRADE_SHARES = (0.600, 0.073, 0.137, 0.055, 0.135)
"""ICDR grades among people with diabetes; times `DIABETES_SHARE`, 6.6 % of all images have retinopathy."""
_SHARES: dict[Finding, float] = {
    Finding.SCAR: 0.018,
    Finding.NEVUS: 0.008,
    Finding.AMD: 0.022,
    Finding.VASCULAR_OCCLUSION: 0.006,
    Finding.HYPERTENSIVE_RETINOPATHY: 0.017,
    Finding.DRUSEN: 0.195,
    Finding.HEMORRHAGE: 0.006,
    Finding.RETINAL_DETACHMENT: 0.0006,
    Finding.MYOPIC_FUNDUS: 0.016,
    Finding.INCREASED_CUP_DISC: 0.225,
    Finding.OTHER: 0.06,
}
_OF_AGE = frozenset({Finding.DRUSEN, Finding.AMD, Finding.HYPERTENSIVE_RETINOPATHY, Finding.INCREASED_CUP_DISC})
"""Findings that grow commoner with age."""
_EDEMA_BY_GRADE = (0.0015, 0.05, 0.30, 0.45, 0.40)
_SHARED = 0.8
"""Correlation of a patient's two eyes in the latent scores behind flags."""
_NORMAL = NormalDist()


def draw_patient(seed: int, number: int, *, right_icdr: int | None = None) -> Patient:
    """The patient of this seed and number.

    Args:
        seed: of the data set.
        number: from 1.
        right_icdr: asks for a patient whose right eye has this ICDR grade (balanced data sets).
    """
    rng = np.random.default_rng([seed, number])
    for _ in range(10_000):
        patient = _draw(rng, number, diabetic=None if right_icdr is None else right_icdr > 0 or bool(rng.random() < 0.5))
        if right_icdr is None or patient.eyes[0].icdr == right_icdr:
            return patient
    raise AssertionError("every grade has a share of some per cent")


def _draw(rng: np.random.Generator, number: int, *, diabetic: bool | None) -> Patient:
    diabetes = bool(rng.random() < DIABETES_SHARE) if diabetic is None else diabetic
    age = float(np.clip(rng.normal(61.0 if diabetes else 56.0, 13.0 if diabetes else 18.5), 7, 97))
    duration_z = float(rng.normal() * 0.93 + 0.37 * (age - 61.0) / 13.0)
    years = float(np.clip(math.exp(2.15 + 0.75 * duration_z), 0.3, max(age - 4.0, 1.0)))
    insulin = diabetes and bool(rng.random() < 1 / (1 + math.exp(1.0 - 1.2 * duration_z)))
    shared = float(rng.normal())
    flags_shared = {finding: float(rng.normal()) for finding in _SHARES}
    score = 0.55 * duration_z + 0.55 * (insulin - 0.32) + 0.62 * shared if diabetes else None
    states = tuple(_draw_eye(rng, eye, age, score, flags_shared) for eye in (Eye.RIGHT, Eye.LEFT))
    return Patient(
        number=number,
        age_years=float(round(age)),
        sex=Sex.FEMALE if rng.random() < 0.62 else Sex.MALE,
        camera=Camera.NIKON if rng.random() < 0.35 else Camera.CANON,
        diabetes=diabetes,
        diabetes_years=round(years, 1) if years < 3 else float(round(years)) if diabetes else None,
        insulin=insulin,
        eyes=(states[0], states[1]),
    )


# Standard deviation of the score with the eye's own part, measured over 200,000 draws: makes the score a z.
_SCORE_STD = 1.06


def _draw_eye(rng: np.random.Generator, eye: Eye, age: float, score: float | None, shared: dict[Finding, float]) -> EyeState:
    own = rng.normal(size=len(_SHARES))
    icdr, severity = 0, float(rng.random())
    if score is not None:
        icdr, severity = _grade((score + 0.33 * float(rng.normal())) / _SCORE_STD)
    age_z = (age - 57.0) / 18.0
    findings = set()
    for finding, mine in zip(_SHARES, own, strict=True):
        z = math.sqrt(_SHARED) * shared[finding] + math.sqrt(1 - _SHARED) * float(mine)
        if finding in _OF_AGE:
            z = 0.93 * z + math.sqrt(1 - 0.93**2) * age_z
        if z > _NORMAL.inv_cdf(1 - _SHARES[finding]):
            findings.add(finding)
    if icdr > 0:
        findings.add(Finding.DIABETIC_RETINOPATHY)
    if rng.random() < _EDEMA_BY_GRADE[icdr]:
        findings.add(Finding.MACULAR_EDEMA)
    poor = rng.random(size=4) < (0.035, 0.03, 0.05, 0.01)
    return EyeState(
        eye=eye,
        icdr=icdr,
        sdrg=_sdrg(icdr, severity),
        severity=severity,
        findings=frozenset(findings),
        quality=Quality(focus=bool(poor[0]), illumination=bool(poor[1]), image_field=bool(poor[2]), artifacts=bool(poor[3])),
        laser=icdr == 4 and bool(rng.random() < 0.55),
    )


def _grade(z: float) -> tuple[int, float]:
    """ICDR grade and place within it, from a standard normal score."""
    quantile, low = _NORMAL.cdf(z), 0.0
    for grade, share in enumerate(GRADE_SHARES):
        if quantile <= low + share or grade == len(GRADE_SHARES) - 1:
            return grade, min(max((quantile - low) / share, 0.0), 1.0)
        low += share
    raise AssertionError("the shares add up to 1")


def _sdrg(icdr: int, severity: float) -> int:
    """The Scottish level of an ICDR grade: the same, but moderate disease spreads over R1 to R3 by its lesion count."""
    if icdr == 2:
        return 1 if severity < 0.15 else 2 if severity < 0.85 else 3
    return icdr
