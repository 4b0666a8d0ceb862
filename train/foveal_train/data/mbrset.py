"""mBRSET (Wu et al. 2024, PhysioNet): people with diabetes, photographed with a handheld Phelcom Eyer.

The table flags macular edema alone; diabetic retinopathy is taken as present where `final_icdr` is 1 or more. Notes are
made from these two as for BRSET. Everyone in this data set has diabetes, so the record says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, code, flag, integer_code, years
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.mapping import Reading
from foveal_runtime.study.photographs import photographs_in
from foveal_runtime.study.placing import Placing, own_patients_remark
from foveal_runtime.study.study import Record, Sex
from foveal_runtime.study.synonyms import EYES, ICDR, SEXES
from foveal_runtime.study.table import read_table, require_columns
from foveal_train.data.notes import Finding, note_of, without_dr
from foveal_train.data.sample import Dataset, Labels, Problem, Sample, edema_labels

TABLE = "labels_mbrset.csv"
IMAGES = "images"
CAMERA = "Phelcom Eyer"
_USED = ("patient", "file", "age", "sex", "dm_time", "insulin", "laterality", "final_icdr", "final_edema")
_SEX = {0: Sex.FEMALE, 1: Sex.MALE}
KNOWN_GAPS = frozenset({"985.1.jpg"})
"""Photographs that the published release (1.0) names in its table and does not hold."""


def read(path: Path, spec: str, reading: Reading) -> Dataset:
    """Read `labels_mbrset.csv` and `images/` below `path`, or the table at `path` with images/ beside it.

    Raises:
        DataError: the table, the folder or a column is missing.
    """
    file = path if path.is_file() else path / TABLE
    if not file.is_file():
        raise DataError(f"{path} holds no {TABLE}; give the folder of an mBRSET release")
    folder = file.parent / IMAGES
    if not folder.is_dir():
        raise DataError(f"{folder} is not there; mBRSET's photographs belong beside {file.name} in {IMAGES}/")
    table = read_table(file, reading.columns)
    require_columns(table, dict.fromkeys(_USED, ()))
    samples: list[Sample] = []
    problems: list[Problem] = list(table.bad)
    images = photographs_in(folder)
    placing = Placing(images, own_patients=reading.own_patients)
    gaps: list[str] = []
    for row, cells in table.rows:
        name = ""
        try:
            if not cells["file"]:
                raise BadCode("file is empty")
            if cells["file"] in KNOWN_GAPS and cells["file"] not in images:
                gaps.append(cells["file"])
                continue
            name = placing.photograph(cells["file"], "file")
            patient = placing.patient(row, cells["patient"], "patient", own=name)
            samples.append(_sample(row, name, images[name], patient, cells))
        except BadCode as bad:
            problems.append(bad.problem(row, name or placing.find.label(cells["file"])))
    remarks = [f"known gap of the release: {name} is in its table and not among its photographs" for name in gaps]
    remarks += own_patients_remark(placing.own)
    return Dataset(name="mbrset", spec=spec, samples=tuple(samples), problems=tuple(problems), remarks=tuple(remarks))


def _sample(row: int, name: str, path: Path, patient: str, cells: Mapping[str, str]) -> Sample:
    """The sample of one row.

    Raises:
        BadCode: a cell that means nothing known.
    """
    icdr = integer_code("final_icdr", cells["final_icdr"], range(GRADES), ICDR)
    flagged = flag("final_edema", cells["final_edema"])
    edema = None if flagged is None else int(flagged)
    record = Record(
        age_years=years("age", cells["age"]),
        sex=code("sex", cells["sex"], SEXES, _SEX),
        eye=code("laterality", cells["laterality"], EYES),
        diabetes_years=years("dm_time", cells["dm_time"]),
        insulin=flag("insulin", cells["insulin"]),
        diabetes=True,
    )
    findings = [Finding.DIABETIC_RETINOPATHY] if icdr else []
    if edema:
        findings.append(Finding.MACULAR_EDEMA)
    note = note_of(findings)
    return Sample(
        id=name,
        patient_id=f"mbrset:{patient.removesuffix('.0')}",
        image_path=path,
        note=note,
        note_without_dr=without_dr(note),
        record=record,
        labels=Labels(icdr=icdr, macular_edema=edema, others=edema_labels(edema, is_risk=False)),
        camera=CAMERA,
        findings=tuple(f.value for f in findings),
        row=row,
    )
