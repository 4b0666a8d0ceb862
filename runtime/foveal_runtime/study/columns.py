"""What a clinic's columns mean, and a row's cells as a photograph with record and labels. Reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, code, day, flag, integer_code, is_missing, years
from foveal_runtime.study.labels import GRADES, HEAD_NAME
from foveal_runtime.study.mapping import ColumnMap
from foveal_runtime.study.study import Eye, Record
from foveal_runtime.study.synonyms import (
    EDEMA,
    EYES,
    FILE_ORDER,
    GRADE_HINTS,
    ICDR,
    NO_GRADE_HINTS,
    NOTE_MISSING,
    SDRG,
    SEXES,
    SPELLINGS,
    fold,
    fold_header,
)
from foveal_runtime.study.table import Table

_FIELD_OF = {spelling: field for field, spellings in SPELLINGS.items() for spelling in spellings} | {
    fold_header(field): field for field in SPELLINGS
}
LABEL = "label_"
"""Begins the name of a column whose words are the classes of a head."""
_GRADE_CELLS = frozenset({str(grade) for grade in range(6)} | {*ICDR, *SDRG})


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderRow:
    """One photograph with what the CSV says of it."""

    row: int
    """Line of the CSV; 0 without one."""
    id: str
    """Path of the photograph inside the folder, with forward slashes."""
    image_path: Path
    patient_id: str
    """The CSV's patient; the photograph's own id where it names none."""
    note: str | None
    record: Record | None
    icdr: int | None
    sdrg: int | None
    macular_edema: int | None
    camera: str
    labels: tuple[tuple[str, str], ...] = ()
    """Of further heads: name and class, from the columns `label_NAME`."""
    site: str = ""
    acquired: date | None = None
    """Date of the photograph."""


def columns_of(table: Table, mapping: ColumnMap) -> dict[str, str]:
    """Field to the column that carries it.

    Raises:
        DataError: no column for the photograph, two for one field, or a mapping to or of a field that does not exist.
    """
    known = ", ".join(SPELLINGS)
    own = {fold_header(column) for column in table.columns}
    for target in [*filter(None, mapping.columns.values()), *(name for name in mapping.values if name not in own)]:
        if fold_header(target) not in _FIELD_OF and _label_of(target) is None:
            raise DataError(
                f"the mapping file names the field {target!r}; known are {known}, and {LABEL}NAME for labels of heads"
            )
    columns: dict[str, str] = {}
    for column in table.columns:
        field = _FIELD_OF.get(fold_header(column)) or _label_of(column)
        if field is None:
            continue
        if field == "file" and field in columns:
            columns[field] = min(columns[field], column, key=_file_place)
        elif field in columns:
            raise DataError(
                f"{table.path}: the columns {columns[field]!r} and {column!r} both mean {field}; keep one, "
                "or leave one out by a mapping file (--columns)"
            )
        else:
            columns[field] = column
    if "file" not in columns:
        found = ", ".join(table.columns[:12])
        raise DataError(f"{table.path} has no column that names the photograph; call it 'file' (found: {found})")
    return columns


def _label_of(column: str) -> str | None:
    """The field of a column of labels, `label_NAME`; None for another column."""
    name = column.strip().casefold()
    return name if name.startswith(LABEL) and HEAD_NAME.fullmatch(name[len(LABEL) :]) else None


def _file_place(column: str) -> int:
    name = fold_header(column)
    return FILE_ORDER.index(name) if name in FILE_ORDER else len(FILE_ORDER)


def looks_like_grade(column: str, cells: Sequence[str]) -> bool:
    """True where the header speaks of a grade, or every cell is one in words."""
    words = set(fold(column).split())
    filled = [fold(cell) for cell in cells if not is_missing(cell)]
    if not filled or words & NO_GRADE_HINTS:
        return False
    codes = sum(cell.removesuffix(" 0") in _GRADE_CELLS for cell in filled) / len(filled)
    hinted = words & GRADE_HINTS or any(fold_header(column).endswith(hint) for hint in ("grade", "level", "icdr"))
    worded = sum(cell in ICDR or cell in SDRG for cell in filled) / len(filled)
    return (bool(hinted) and codes > 0.5) or worded > 0.5


def row_of(line: int, name: str, file: Path, values: Mapping[str, str], dates: str) -> FolderRow:
    """A row of the folder.

    Args:
        line: of the CSV.
        name: the photograph's path inside the folder.
        file: its path.
        values: cells by field.
        dates: what 03/04/2024 is (`mapping.DATES`).

    Raises:
        BadCode: a cell that means nothing known.
    """

    def cell(field: str) -> str:
        text = values.get(field, "")
        return "" if is_missing(text) else text

    record = Record(
        age_years=years("age", cell("age")),
        sex=code("sex", cell("sex"), SEXES),
        eye=code("eye", cell("eye"), EYES),
        diabetes_years=years("duration", cell("duration")),
        insulin=flag("insulin", cell("insulin")),
        diabetes=flag("diabetes", cell("diabetes")),
    )
    icdr, eye = _icdr(values, record.eye)
    record = replace(record, eye=eye)
    note = values.get("note", "").strip()
    return FolderRow(
        row=line,
        id=name,
        image_path=file,
        patient_id=cell("patient") or name,
        note=None if fold(note) in NOTE_MISSING else note,
        record=None if record.is_blank else record,
        icdr=icdr,
        sdrg=integer_code("sdrg", values.get("sdrg", ""), range(GRADES), SDRG),
        macular_edema=integer_code("macular edema", cell("macular_edema"), range(3), EDEMA),
        camera=cell("camera"),
        labels=tuple((field[len(LABEL) :], cell(field)) for field in values if field.startswith(LABEL) and cell(field)),
        site=cell("site"),
        acquired=day("acquired", cell("acquired"), dates),
    )


def _icdr(values: Mapping[str, str], eye: Eye | None) -> tuple[int | None, Eye | None]:
    """The grade of the photograph's eye; where a column an eye is filled (DeepDRiD), it also tells the eye."""
    grade = _grade("grade", values.get("icdr", ""))
    sides = {side: _grade(f"grade of the {side} eye", values.get(f"icdr_{side}", "")) for side in (Eye.LEFT, Eye.RIGHT)}
    told = [side for side, found in sides.items() if found is not None]
    if not told:
        return grade, eye
    if eye is None and len(told) == 2:
        raise BadCode("grades of both eyes, and no column says which eye it is; add one (eye)")
    side = eye or told[0]
    if grade is not None and sides[side] not in (None, grade):
        raise BadCode("two columns give this eye different grades; leave one out by a mapping file (--columns)")
    return (sides[side] if grade is None else grade), side


def _grade(name: str, cell: str) -> int | None:
    if fold(cell) in SDRG:
        raise BadCode(
            f"{name} has a level of another scale ({fold(cell).upper()}): Scottish and English levels are no ICDR grades",
            column=f"{name} (ICDR)",
            code=repr(fold(cell).upper()),
            accepted="0 to 4 and their words; a mapping file says which grade a level of another scale stands for",
        )
    return integer_code(name, cell, range(GRADES), ICDR)
