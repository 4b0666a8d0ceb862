"""Generated patients to the rows of BRSET's table, quirks included, in the columns of a release. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal_runtime.study.study import Eye, Sex
from foveal_train.data.brset import Release
from foveal_train.data.notes import Finding
from foveal_train.data.synthetic.patients import EyeState, Patient

Row = dict[str, str]

_ROWS_OF_BRSET = 16_266
_DISAGREEING = 15
"""Rows of BRSET whose retinopathy flag contradicts the ICDR grade."""


def image_id(patient: Patient, eye: Eye) -> str:
    """`imgNNNNN`: two numbers a patient, the right eye first."""
    return f"img{2 * patient.number - (eye is Eye.RIGHT):05d}"


def patient_rows(patient: Patient, seed: int, release: Release) -> list[Row]:
    """The patient's two rows. Cells are missing as often as in BRSET, the patient's fields in both rows alike."""
    rng = np.random.default_rng([seed, patient.number, 7])
    shared = {
        "patient_id": str(patient.number),
        "camera": patient.camera.value,
        "patient_age": "" if rng.random() < 0.33 else f"{patient.age_years:.1f}",
        "comorbidities": _comorbidities(rng, patient),
        "diabetes_time_y": _duration(rng, patient),
        release.insulin: ("yes" if patient.insulin else "no") if patient.diabetes and rng.random() < 0.7 else "",
        "patient_sex": "1" if patient.sex is Sex.MALE else "2",
        "diabetes": "yes" if patient.diabetes else "No",
        "nationality": "Brazil",
    }
    return [shared | _eye_cells(patient, state, release) for state in patient.eyes]


def add_quirks(rows: Sequence[Row], seed: int, release: Release) -> None:
    """Put BRSET's contradictions and stray codes into the finished table, in place.

    At least one row of each kind, and as many disagreeing rows as BRSET's share.
    """
    rng = np.random.default_rng([seed, 0, 11])
    order = rng.permutation(len(rows))
    disagreeing = max(1, round(_DISAGREEING * len(rows) / _ROWS_OF_BRSET))
    flag = release.column_of(Finding.DIABETIC_RETINOPATHY)
    for index in order[:disagreeing]:
        rows[index][flag] = "0" if rows[index][flag] == "1" else "1"
    rows[order[0]]["vessels"] = "bv"
    for index in order[1:3]:
        rows[index]["optic_disc"] = "0"
    _spoil_durations(rows)


def _spoil_durations(rows: Sequence[Row]) -> None:
    """Where chance left them out: one duration with a decimal comma, one with a letter O, one `Não`; alike in both eyes."""
    by_patient: dict[str, list[Row]] = {}
    for row in rows:
        by_patient.setdefault(row["patient_id"], []).append(row)
    typed = [pair for pair in by_patient.values() if pair[0]["diabetes_time_y"].isdigit()]
    healthy = [pair for pair in by_patient.values() if pair[0]["diabetes"] == "No"]
    seen = "".join(row["diabetes_time_y"] for row in rows)
    for sign, pairs, text in ((",", typed[:1], "2,5"), ("O", typed[1:2], "1O"), ("Não", healthy[:1], "Não")):
        if sign not in seen:
            for row in (row for pair in pairs for row in pair):
                row["diabetes_time_y"] = text


def _comorbidities(rng: np.random.Generator, patient: Patient) -> str:
    named = ["diabetes"] if patient.diabetes else []
    if rng.random() < 0.15 + 0.006 * max(patient.age_years - 30, 0):
        named.append("hypertension")
    return ", ".join(named) if rng.random() < 0.6 else ""


def _duration(rng: np.random.Generator, patient: Patient) -> str:
    """As typed in the clinic: whole years, decimal commas, a letter O now and then, `Não` for people without diabetes."""
    kind = rng.random()
    if patient.diabetes_years is None:
        return "Não" if kind < 0.02 else ""
    if kind > 0.65:
        return ""
    text = f"{patient.diabetes_years:g}"
    if "." in text:
        return text.replace(".", ",") if kind < 0.45 else text
    return text.replace("0", "O") if kind < 0.1 else text


def _eye_cells(patient: Patient, state: EyeState, release: Release) -> Row:
    findings, quality = state.findings, state.quality
    vessels = state.icdr >= 3 or bool(findings & {Finding.VASCULAR_OCCLUSION, Finding.HYPERTENSIVE_RETINOPATHY})
    macula = bool(findings & {Finding.MACULAR_EDEMA, Finding.AMD, Finding.DRUSEN, Finding.SCAR}) or state.icdr >= 2
    disc = bool(findings & {Finding.INCREASED_CUP_DISC, Finding.MYOPIC_FUNDUS})
    cells = {
        "image_id": image_id(patient, state.eye),
        "exam_eye": "1" if state.eye is Eye.RIGHT else "2",
        "optic_disc": _normal(disc),
        "vessels": _normal(vessels),
        "macula": _normal(macula),
        "DR_SDRG": str(state.sdrg),
        "DR_ICDR": str(state.icdr),
        "focus": _normal(quality.focus),
        release.illumination: _normal(quality.illumination),
        "image_field": _normal(quality.image_field),
        "artifacts": _normal(quality.artifacts),
        "quality": "Inadequate" if quality.inadequate else "Adequate",
    }
    return cells | {release.column_of(f): str(int(f in findings)) for f in Finding}


def _normal(abnormal: bool) -> str:
    return "2" if abnormal else "1"
