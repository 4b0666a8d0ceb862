"""A clinic's own folder: photographs and at most one CSV, to rows of study fields and labels. Decodes no image.

The header is forgiving: a column is found by any of the spellings in `SPELLINGS`, letter case, blanks and underscores
aside, and columns that mean nothing here are left alone. docs/datasets.md shows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, flag, integer_code, is_missing, iso_date, word_code, years
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.study import Eye, Record, Sex
from foveal_runtime.study.table import read_table

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
DICOM_SUFFIXES = (".dcm", ".dicom")
"""Of photographs that `foveal grade` sends as they are; data sets and `foveal index` read none."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "file": ("file", "filename", "image", "imageid", "imagename", "imagefile", "imagepath", "path", "photo", "idcode"),
    "patient": ("patient", "patientid", "subject", "subjectid"),
    "icdr": ("icdr", "dricdr", "finalicdr", "grade", "drgrade", "retinopathygrade", "diagnosis", "level", "label"),
    "sdrg": ("sdrg", "drsdrg"),
    "macular_edema": ("macularedema", "edema", "dme", "finaledema", "riskofmacularedema"),
    "age": ("age", "ageyears", "patientage"),
    "sex": ("sex", "gender", "patientsex"),
    "eye": ("eye", "laterality", "exameye", "side"),
    "duration": ("duration", "diabetesduration", "durationyears", "diabetesyears", "diabetestimey", "dmtime"),
    "insulin": ("insulin", "insuline"),
    "diabetes": ("diabetes", "diabetic"),
    "note": ("note", "notes", "clinicalnote", "report", "text", "description", "clinicaldescription"),
    "camera": ("camera", "device"),
    "site": ("site", "clinic"),
    "acquired": ("acquired", "acquisitiondate"),
}
"""Field to the spellings of its column, lower case, letters and digits alone."""

SEX_WORDS: Mapping[str, Sex] = {
    "m": Sex.MALE, "male": Sex.MALE, "man": Sex.MALE, "masculino": Sex.MALE,
    "f": Sex.FEMALE, "female": Sex.FEMALE, "woman": Sex.FEMALE, "feminino": Sex.FEMALE,
}  # fmt: skip
EYE_WORDS: Mapping[str, Eye] = {
    "right": Eye.RIGHT, "r": Eye.RIGHT, "od": Eye.RIGHT, "re": Eye.RIGHT, "direito": Eye.RIGHT,
    "left": Eye.LEFT, "l": Eye.LEFT, "os": Eye.LEFT, "le": Eye.LEFT, "esquerdo": Eye.LEFT,
}  # fmt: skip


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
    site: str = ""
    acquired: date | None = None
    """Date of the photograph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that can't be used."""

    row: int
    id: str
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What a folder holds."""

    rows: tuple[FolderRow, ...]
    bad_rows: tuple[BadRow, ...]
    unused_columns: tuple[str, ...]
    """Columns of the CSV that mean nothing here."""
    unlisted_images: int
    """Photographs that no row of the CSV names; they are not read."""


def read_folder(path: Path) -> Folder:
    """Read a folder, or the folder of the CSV at `path`.

    A folder without a CSV is legal: every photograph in it, unlabelled.

    Raises:
        DataError: nothing there, more than one CSV, no photograph, or a header that can't be understood.
    """
    if path.is_file():
        table_path: Path | None = path
        root = path.parent
    elif path.is_dir():
        root = path
        tables = sorted(p for p in path.iterdir() if p.suffix.lower() == ".csv" and p.is_file())
        if len(tables) > 1:
            raise DataError(f"{path} holds {len(tables)} CSV files; name the one to read: folder:{tables[0]}")
        table_path = tables[0] if tables else None
    else:
        raise DataError(f"{path} does not exist; give a folder of photographs or its CSV")
    images = photographs_in(root)
    if not images:
        raise DataError(f"{root} holds no photograph ({', '.join(IMAGE_SUFFIXES)}); check the folder")
    if table_path is None:
        rows = tuple(_bare(name, file) for name, file in images.items())
        return Folder(rows=rows, bad_rows=(), unused_columns=(), unlisted_images=0)
    return _read_table(table_path, images)


def photographs_in(root: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """The photographs in a folder and below it, by their path inside it, in order; hidden files and folders are left out.

    Raises:
        OSError: a folder can't be read: photographs in it would be left out in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = {}
    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                file = Path(folder) / name
                found[file.relative_to(root).as_posix()] = file
    return found


def _bare(name: str, file: Path) -> FolderRow:
    return FolderRow(
        row=0, id=name, image_path=file, patient_id=name, note=None, record=None,
        icdr=None, sdrg=None, macular_edema=None, camera="",
    )  # fmt: skip


def _read_table(path: Path, images: dict[str, Path]) -> Folder:
    table = read_table(path)
    columns = _columns(path, table.columns)
    find = _finder(images)
    rows: list[FolderRow] = []
    bad: list[BadRow] = []
    seen: set[str] = set()
    for line, cells in table.rows:
        values = {field: cells[column] for field, column in columns.items()}
        try:
            name = find(values["file"])
            if name in seen:
                raise BadCode("photograph occurs in an earlier row")
            seen.add(name)
            rows.append(_row(line, name, images[name], values))
        except BadCode as error:
            bad.append(BadRow(row=line, id=values["file"], what=str(error)))
    used = set(columns.values())
    return Folder(
        rows=tuple(rows),
        bad_rows=tuple(bad),
        unused_columns=tuple(c for c in table.columns if c not in used),
        unlisted_images=len(images) - len(seen),
    )


def _columns(path: Path, header: tuple[str, ...]) -> dict[str, str]:
    field_of = {spelling: field for field, spellings in SPELLINGS.items() for spelling in spellings}
    columns: dict[str, str] = {}
    for column in header:
        field = field_of.get(re.sub(r"[^a-z0-9]", "", column.casefold()))
        if field is None:
            continue
        if field in columns:
            raise DataError(f"{path}: the columns {columns[field]!r} and {column!r} both mean {field}; keep one")
        columns[field] = column
    if "file" not in columns:
        raise DataError(f"{path} has no column that names the photograph; call it 'file' (found: {', '.join(header[:12])})")
    return columns


def _finder(images: dict[str, Path]) -> Callable[[str], str]:
    """A function from a cell to a key of `images`: by path, by name alone, with or without the extension."""
    short: dict[str, list[str]] = {}
    for name in images:
        path = PurePosixPath(name)
        for key in {path.name, path.stem, str(path.with_suffix(""))}:
            short.setdefault(key, []).append(name)

    def find(cell: str) -> str:
        wanted = cell.strip().replace("\\", "/").removeprefix("./")
        if not wanted:
            raise BadCode("names no photograph")
        if wanted in images:
            return wanted
        matches = short.get(wanted, [])
        if len(matches) > 1:
            raise BadCode(f"{len(matches)} photographs have this name; write the path inside the folder")
        if not matches:
            raise BadCode("photograph is not in the folder")
        return matches[0]

    return find


def _row(line: int, name: str, file: Path, values: Mapping[str, str]) -> FolderRow:
    def cell(field: str) -> str:
        text = values.get(field, "")
        return "" if is_missing(text) else text

    record = Record(
        age_years=years("age", cell("age")),
        sex=word_code("sex", cell("sex"), SEX_WORDS),
        eye=word_code("eye", cell("eye"), EYE_WORDS),
        diabetes_years=years("duration", cell("duration")),
        insulin=flag("insulin", cell("insulin")),
        diabetes=flag("diabetes", cell("diabetes")),
    )
    edema = cell("macular_edema")
    return FolderRow(
        row=line,
        id=name,
        image_path=file,
        patient_id=cell("patient") or name,
        note=values.get("note", "").strip() or None,
        record=None if record.is_blank else record,
        icdr=integer_code("grade", cell("icdr"), range(GRADES)),
        sdrg=integer_code("sdrg", cell("sdrg"), range(GRADES)),
        macular_edema=word_code("macular edema", edema, {"yes": 1, "no": 0})
        if edema.isalpha()
        else integer_code("macular edema", edema, range(3)),
        camera=cell("camera"),
        site=cell("site"),
        acquired=iso_date("acquired", cell("acquired")),
    )
