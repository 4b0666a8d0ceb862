"""mBRSET (Wu et al. 2024, PhysioNet): people with diabetes, photographed with a handheld Phelcom Eyer.

The table flags macular edema alone; diabetic retinopathy is taken as present where `final_icdr` is 1 or more. Notes are
made from these two as for BRSET. Everyone in this data set has diabetes, so the record says so.
"""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, flag, integer_code, is_missing, word_code, years
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.study import Eye, Record, Sex
from foveal_runtime.study.table import read_table, require_columns
from foveal_train.data.notes import Finding, note_of, without_dr
from foveal_train.data.sample import Dataset, Labels, Problem, Sample

TABLE = "labels_mbrset.csv"
IMAGES = "images"
CAMERA = "Phelcom Eyer"
_USED = ("patient", "file", "age", "sex", "dm_time", "insulin", "laterality", "final_icdr", "final_edema")
_SEX = {0: Sex.FEMALE, 1: Sex.MALE}
_EYE = {"right": Eye.RIGHT, "left": Eye.LEFT}


def read(path: Path, spec: str) -> Dataset:
    """Read `labels_mbrset.csv` and `images/` below `path`.

    Raises:
        DataError: the table, the folder or a column is missing.
    """
    if not (path / TABLE).is_file():
        raise DataError(f"{path} holds no {TABLE}; give the folder of an mBRSET release")
    if not (path / IMAGES).is_dir():
        raise DataError(f"{path / IMAGES} is not there; mBRSET's photographs belong beside {TABLE} in {IMAGES}/")
    table = read_table(path / TABLE)
    require_columns(table, dict.fromkeys(_USED, ()))
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for row, cells in table.rows:
        name = cells["file"]
        try:
            if not name:
                raise BadCode("file is empty")
            if name in seen:
                raise BadCode("file occurs in an earlier row")
            seen.add(name)
            if is_missing(cells["patient"]):
                raise BadCode("patient is empty")
            icdr = integer_code("final_icdr", cells["final_icdr"], range(GRADES))
            edema = flag("final_edema", cells["final_edema"])
            sex = integer_code("sex", cells["sex"], _SEX)
            record = Record(
                age_years=years("age", cells["age"]),
                sex=None if sex is None else _SEX[sex],
                eye=word_code("laterality", cells["laterality"], _EYE),
                diabetes_years=years("dm_time", cells["dm_time"]),
                insulin=flag("insulin", cells["insulin"]),
                diabetes=True,
            )
            image_path = path / IMAGES / name
            if not image_path.is_file():
                raise BadCode(f"image {IMAGES}/{name} is missing")
        except BadCode as bad:
            problems.append(Problem(row=row, id=name, what=str(bad)))
            continue
        findings = [Finding.DIABETIC_RETINOPATHY] if icdr else []
        if edema:
            findings.append(Finding.MACULAR_EDEMA)
        note = note_of(findings)
        samples.append(
            Sample(
                id=name,
                patient_id=f"mbrset:{cells['patient'].removesuffix('.0')}",
                image_path=image_path,
                note=note,
                note_without_dr=without_dr(note),
                record=record,
                labels=Labels(icdr=icdr, macular_edema=None if edema is None else int(edema)),
                camera=CAMERA,
                findings=tuple(f.value for f in findings),
                row=row,
            )
        )
    return Dataset(name="mbrset", spec=spec, samples=tuple(samples), problems=tuple(problems))
