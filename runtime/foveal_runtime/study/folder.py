"""A clinic's own folder: photographs and at most one CSV, to rows of study fields and labels. Decodes no image.

The header is forgiving (`columns`), and so are the cells (`codes`); what means nothing known is named, with what would be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode
from foveal_runtime.study.columns import FolderRow, columns_of, looks_like_grade, row_of
from foveal_runtime.study.mapping import ColumnMap, Reading
from foveal_runtime.study.photographs import IMAGE_SUFFIXES, Skipped, search
from foveal_runtime.study.placing import Placing
from foveal_runtime.study.problem import Problem
from foveal_runtime.study.synonyms import fold
from foveal_runtime.study.table import read_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What a folder holds."""

    rows: tuple[FolderRow, ...]
    bad_rows: tuple[Problem, ...]
    unused_columns: tuple[str, ...] = ()
    """Columns of the CSV that mean nothing here."""
    unread_grades: tuple[str, ...] = ()
    """Those of them that look like a grade: photographs would be without it in silence."""
    own_patients: tuple[int, ...] = ()
    """Rows without a patient that count as patients of their own."""
    unlisted_images: int = 0
    """Photographs that no row of the CSV names; they are not read."""
    skipped: tuple[Skipped, ...] = ()
    """Files that are no photographs."""


def read_folder(path: Path, reading: Reading = Reading()) -> Folder:  # noqa: B008 - frozen
    """Read a folder, or the folder of the CSV at `path`.

    A folder without a CSV is legal: every photograph in it, unlabelled.

    Args:
        path: a folder with at most one CSV, or a CSV.
        reading: the clinic's own columns and words, and what a row without a patient is.

    Raises:
        DataError: nothing there, more than one CSV, no photograph, or a header that can't be understood.
    """
    if path.is_file():
        table_path: Path | None = path
        root = path.parent
    elif path.is_dir():
        root = path
        tables = sorted(p for p in path.iterdir() if p.suffix.lower() == ".csv" and p.is_file() and p.name[0] != ".")
        if len(tables) > 1:
            raise DataError(f"{path} holds {len(tables)} CSV files; name the one to read: folder:{tables[0]}")
        table_path = tables[0] if tables else None
    else:
        raise DataError(f"{path} does not exist; give a folder of photographs or its CSV")
    images, skipped = search(root)
    if not images:
        raise DataError(f"{root} holds no photograph ({', '.join(IMAGE_SUFFIXES)}); check the folder")
    if table_path is None:
        if reading.columns != ColumnMap():
            raise DataError(f"{root} holds no CSV for the mapping file; leave --columns out, or add the table")
        return Folder(rows=tuple(_bare(name, file) for name, file in images.items()), bad_rows=(), skipped=skipped)
    skipped = tuple(each for each in skipped if each.path != table_path)
    return replace(_read_table(table_path, images, reading), skipped=skipped)


def _bare(name: str, file: Path) -> FolderRow:
    return FolderRow(
        row=0, id=name, image_path=file, patient_id=name, note=None, record=None,
        icdr=None, sdrg=None, macular_edema=None, camera="",
    )  # fmt: skip


def _read_table(path: Path, images: dict[str, Path], reading: Reading) -> Folder:
    table = read_table(path, reading.columns)
    columns = columns_of(table, reading.columns)
    placing = Placing(images, own_patients=reading.own_patients)
    doubtful = _means_woman(cells[columns["sex"]] for _, cells in table.rows) if "sex" in columns else False
    rows: list[FolderRow] = []
    bad = list(table.bad)
    for line, cells in table.rows:
        # The mapping file may call the column by its name in the table, which is done, or by its field.
        values = {field: reading.columns.value(field, cells[column]) for field, column in columns.items()}
        name = ""
        try:
            name = placing.photograph(values["file"], "photograph")
            if doubtful and fold(values["sex"]) == "m":
                raise BadCode("sex is M in a column that has H too, so it may be mulher; write F and M, or map the words")
            placing.patient(line, values.get("patient", name), "patient", own=name)
            rows.append(row_of(line, name, images[name], values, reading.columns.dates))
        except BadCode as error:
            bad.append(error.problem(line, name or placing.find.label(values["file"])))
    if not columns.keys() & {"icdr", "icdr_left", "icdr_right"}:
        # A patient's grade is the worse eye's: beside the eyes' grades it is not needed, alone it is not the photograph's.
        columns.pop("icdr_patient", None)
    unused = [c for c in table.columns if c not in columns.values()]
    return Folder(
        rows=tuple(rows),
        bad_rows=tuple(sorted(bad, key=lambda problem: problem.row)),
        unused_columns=tuple(unused),
        unread_grades=tuple(c for c in unused if looks_like_grade(c, [cells[c] for _, cells in table.rows])),
        own_patients=tuple(placing.own),
        unlisted_images=len(images) - len(placing.seen),
    )


def _means_woman(cells: Iterable[str]) -> bool:
    """True for a column of H and M, homem and mulher."""
    return any(fold(cell) == "h" for cell in cells)
