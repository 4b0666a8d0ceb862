"""BRSET (Nakayama et al. 2023, PhysioNet) in its three incompatible releases, with every quirk of its table.

A row becomes a sample whose note is made from the 13 flags (`notes`). Anatomy and quality columns are not read: their odd
codes (`bv`, `0`) therefore refuse nothing. Where the diabetic-retinopathy flag and the ICDR grade disagree, the grade is
the label and the flag makes the note, as published; the rows are counted in the remarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, code, flag, integer_code, is_missing, years
from foveal_runtime.study.labels import EDEMA, GRADES
from foveal_runtime.study.mapping import ColumnMap, Reading
from foveal_runtime.study.photographs import photographs_in
from foveal_runtime.study.placing import Placing, own_patients_remark
from foveal_runtime.study.study import Eye, Record, Sex
from foveal_runtime.study.synonyms import EYES, ICDR, SDRG, SEXES
from foveal_runtime.study.table import Table, read_table, require_columns
from foveal_train.data.notes import Finding, note_of, without_dr
from foveal_train.data.sample import Dataset, Labels, Problem, Sample

IMAGES = "fundus_photos"


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """What differs between releases."""

    version: str
    table: str
    """File name of the labels."""
    insulin: str
    illumination: str
    drusen: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The 34 columns in their order."""
        return (
            "image_id", "patient_id", "camera", "patient_age", "comorbidities", "diabetes_time_y", self.insulin,
            "patient_sex", "exam_eye", "diabetes", "nationality", "optic_disc", "vessels", "macula", "DR_SDRG", "DR_ICDR",
            "focus", self.illumination, "image_field", "artifacts", "diabetic_retinopathy", "macular_edema", "scar",
            "nevus", "amd", "vascular_occlusion", "hypertensive_retinopathy", self.drusen, "hemorrhage",
            "retinal_detachment", "myopic_fundus", "increased_cup_disc", "other", "quality",
        )  # fmt: skip

    def column_of(self, finding: Finding) -> str:
        """The flag's column in this release."""
        return self.drusen if finding is Finding.DRUSEN else finding.value

    def matches(self, table: Table) -> bool:
        """True when the three columns that changed their names have this release's, letter case included."""
        return {self.insulin, self.illumination, self.drusen} <= set(table.columns)


RELEASES = (
    Release(version="1.0.0", table="labels.csv", insulin="insuline", illumination="iluminaton", drusen="drusens"),
    Release(version="1.0.1", table="labels_brset.csv", insulin="insuline", illumination="Illuminaton", drusen="drusens"),
    Release(version="1.0.2", table="label_brset.csv", insulin="insulin", illumination="illumination", drusen="drusen"),
)

_HEADS = {Finding.MACULAR_EDEMA: EDEMA}
"""Names of heads that are not the flags' own."""
_SEX = {1: Sex.MALE, 2: Sex.FEMALE}
_EYE = {1: Eye.RIGHT, 2: Eye.LEFT}
_NO_DURATION = frozenset({"não", "nao", "no"})
"""What stands in `diabetes_time_y` of people without diabetes."""


def read(path: Path, spec: str, reading: Reading) -> Dataset:
    """Read a release below the folder `path`, or the table at `path`, images beside it in fundus_photos/.

    Raises:
        DataError: no table or several, a column missing, or a table whose name and header are of two releases.
    """
    table, release = _find_table(path, reading.columns)
    used = [
        "image_id", "patient_id", "camera", "patient_age", "diabetes_time_y", release.insulin, "patient_sex", "exam_eye",
        "diabetes", "DR_SDRG", "DR_ICDR", *(release.column_of(f) for f in Finding),
    ]  # fmt: skip
    require_columns(table, dict.fromkeys(used, ()))
    folder = table.path.parent / IMAGES
    if not folder.is_dir():
        raise DataError(f"{folder} is not there; BRSET's photographs belong beside {table.path.name} in {IMAGES}/")
    images = photographs_in(folder)
    placing = Placing(images, own_patients=reading.own_patients)
    samples: list[Sample] = []
    problems: list[Problem] = list(table.bad)
    disagreeing = 0
    for row, cells in table.rows:
        name = ""
        try:
            if not cells["image_id"]:
                raise BadCode("image_id is empty")
            name = placing.photograph(cells["image_id"], "image_id")
            patient = placing.patient(row, cells["patient_id"], "patient_id", own=images[name].stem)
            sample = _sample(row, images[name], patient, cells, release)
        except BadCode as bad:
            problems.append(bad.problem(row, images[name].stem if name else placing.find.label(cells["image_id"])))
            continue
        samples.append(sample)
        if sample.labels.icdr is not None:
            disagreeing += (Finding.DIABETIC_RETINOPATHY.value in sample.findings) != (sample.labels.icdr > 0)
    remarks = []
    if disagreeing:
        rows = "1 row" if disagreeing == 1 else f"{disagreeing} rows"
        remarks.append(f"{rows}: diabetic_retinopathy and DR_ICDR disagree; the grade is the label")
    remarks += own_patients_remark(placing.own)
    if unlisted := len(images.keys() - placing.seen):
        remarks.append(f"{unlisted} photographs are in no row and are not read")
    return Dataset(
        name=f"brset {release.version}",
        spec=spec,
        samples=tuple(samples),
        problems=tuple(problems),
        remarks=tuple(remarks),
    )


def _sample(row: int, image: Path, patient: str, cells: Mapping[str, str], release: Release) -> Sample:
    """The sample of one row.

    Raises:
        BadCode: the row can't be used.
    """
    findings = tuple(f for f in Finding if _is_present(release.column_of(f), cells))
    labels = Labels(
        icdr=integer_code("DR_ICDR", cells["DR_ICDR"], range(GRADES), ICDR),
        sdrg=integer_code("DR_SDRG", cells["DR_SDRG"], range(GRADES), SDRG),
        macular_edema=int(Finding.MACULAR_EDEMA in findings),
        others=tuple((_HEADS.get(finding, finding.value), int(finding in findings)) for finding in Finding),
    )
    record = _record(cells, release)
    note = note_of(findings)
    return Sample(
        id=image.stem,
        patient_id=f"brset:{patient}",
        image_path=image,
        note=note,
        note_without_dr=without_dr(note),
        record=record,
        labels=labels,
        camera="" if is_missing(cells["camera"]) else cells["camera"],
        findings=tuple(f.value for f in findings),
        row=row,
    )


def _find_table(path: Path, mapping: ColumnMap) -> tuple[Table, Release]:
    names = [release.table for release in RELEASES]
    if path.is_file():
        file = path
    else:
        files = [path / name for name in names if (path / name).is_file()]
        if not files:
            other = " (it holds labels_mbrset.csv: read it as mbrset:)" if (path / "labels_mbrset.csv").is_file() else ""
            raise DataError(f"{path} holds none of {', '.join(names)}{other}; give the folder of one BRSET release")
        if len(files) > 1:
            raise DataError(
                f"{path} holds the tables of {len(files)} BRSET releases ({', '.join(f.name for f in files)}); "
                f"name the one to read: brset:{files[0]}"
            )
        file = files[0]
    table = read_table(file, mapping)
    by_name = next((r for r in RELEASES if r.table == file.name), None)
    by_header = next((r for r in RELEASES if r.matches(table)), None)
    release = by_header if by_name is None else by_name
    if release is None:
        raise DataError(
            f"{file} has the header of no BRSET release (1.0.0, 1.0.1, 1.0.2); docs/datasets.md lists their columns"
        )
    if by_header is not None and by_header is not release:
        raise DataError(
            f"{file} is named as in BRSET {release.version} and has the header of {by_header.version}; "
            f"if it is that release, rename it to {by_header.table}, else download it again"
        )
    return table, release


def _is_present(column: str, cells: Mapping[str, str]) -> bool:
    return bool(flag(column, cells[column]))


def _record(cells: Mapping[str, str], release: Release) -> Record:
    duration = cells["diabetes_time_y"]
    return Record(
        age_years=years("patient_age", cells["patient_age"]),
        sex=code("patient_sex", cells["patient_sex"], SEXES, _SEX),
        eye=code("exam_eye", cells["exam_eye"], EYES, _EYE),
        diabetes_years=None if duration.casefold() in _NO_DURATION else years("diabetes_time_y", duration),
        insulin=flag(release.insulin, cells[release.insulin]),
        diabetes=flag("diabetes", cells["diabetes"]),
    )
