"""A clinic's folder: any spelling of the header, any reasonable cell, and clear words for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, flag, integer_code, years
from foveal_runtime.study.folder import read_folder
from foveal_runtime.study.study import Eye, Sex
from foveal_runtime.study.synonyms import SPELLINGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, one of them in a subfolder."""
    (tmp_path / "visit 2").mkdir()
    for name in ("a.jpg", "b.PNG", "visit 2/c.jpg"):
        Image.new("RGB", (40, 40), (130, 70, 30)).save(tmp_path / name)
    return tmp_path


def test_a_folder_without_a_csv_is_every_photograph_unlabelled(folder: Path) -> None:
    (folder / "readme.txt").write_text("not a photograph")
    rows = read_folder(folder).rows
    assert [row.id for row in rows] == ["a.jpg", "b.PNG", "visit 2/c.jpg"]
    assert all(row.icdr is None and row.record is None and row.patient_id == row.id for row in rows)


def test_a_full_header_in_any_spelling_is_read(folder: Path) -> None:
    (folder / "labels.csv").write_text(
        "\ufeffImage ID,Patient_ID,DR grade,DR_SDRG,Age (years),Gender,Laterality,Diabetes duration,"
        "Insulin,Diabetes,Notes,Device,DME\n"
        'a,17,3,3.0,64,F,OD,"12,5",yes,Sim,"Some, note.",Canon,1\n'
        "visit 2\\c.jpg,17,,,,male,left,,no,n,,,\n"
    )
    first, second = read_folder(folder).rows
    assert first.image_path == folder / "a.jpg"
    assert (first.patient_id, first.icdr, first.sdrg, first.macular_edema) == ("17", 3, 3, 1)
    assert first.record is not None
    assert (first.record.age_years, first.record.diabetes_years) == (64.0, 12.5)
    assert (first.record.sex, first.record.eye, first.record.insulin, first.record.diabetes) == (
        Sex.FEMALE,
        Eye.RIGHT,
        True,
        True,
    )
    assert (first.note, first.camera) == ("Some, note.", "Canon")
    assert second.id == "visit 2/c.jpg"
    assert second.icdr is None
    assert second.note is None


def test_semicolons_and_unknown_columns_are_accepted(folder: Path) -> None:
    (folder / "labels.csv").write_text("file;grade;age;ward\na.jpg;1;61,5;B\n")
    found = read_folder(folder)
    assert found.rows[0].record is not None
    assert found.rows[0].record.age_years == 61.5
    assert found.unused_columns == ("ward",)
    assert found.unlisted_images == 2


def test_no_spelling_means_two_fields() -> None:
    spellings = [s for several in SPELLINGS.values() for s in several]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("zzz.jpg,1,,", "photograph is not in the folder"),
        (",1,,", "names no photograph"),
        ("a.jpg,9,,", "grade has the unknown code '9'"),
        ("a.jpg,1,2,", "sex has the unknown code '2'"),
        ("a.jpg,1,,200", "age is no number of years"),
        ("../../etc/passwd,1,,", "photograph is not in the folder"),
    ],
)
def test_a_bad_row_is_listed_with_its_line(row: str, what: str, folder: Path) -> None:
    (folder / "labels.csv").write_text(f"file,grade,sex,age\nb.PNG,0,,\n{row}\n")
    found = read_folder(folder)
    assert len(found.rows) == 1
    (bad,) = found.bad_rows
    assert bad.row == 3
    assert what in bad.what


def test_a_name_that_two_photographs_share_must_be_written_with_its_path(folder: Path) -> None:
    Image.new("RGB", (40, 40)).save(folder / "visit 2" / "a.jpg")
    (folder / "labels.csv").write_text("file,grade\nvisit 2/a.jpg,1\na,2\n")
    found = read_folder(folder)
    assert [row.id for row in found.rows] == ["visit 2/a.jpg"]
    assert "2 photographs have this name" in found.bad_rows[0].what


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x.csv": "grade\n1\n"}, "no column that names the photograph"),
        ({"x.csv": "file,icdr,grade\na,1,1\n"}, "both mean icdr"),
        ({"x.csv": "file,file\na,a\n"}, "twice"),
        ({"x.csv": ""}, "no header"),
        ({"x.csv": "file\na\n", "y.csv": "file\na\n"}, "2 CSV files"),
    ],
)
def test_a_header_that_cannot_be_understood_is_refused(files: dict[str, str], message: str, folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_folder(folder)


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no photograph"):
        read_folder(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("typed", "value"), [("7", 7.0), ("7,5", 7.5), ("1O", 10.0), ("6 months", 0.5), ("3 anos", 3.0), ("nan", None), ("?", None)]
)
def test_years_are_read_as_people_type_them(typed: str, value: float | None) -> None:
    assert years("age", typed) == value


@pytest.mark.parametrize("typed", ["-1", "126", "inf", "old", "1e9", "7-8", "0x10"])
def test_what_is_no_age_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(BadCode) as refused:
        years("age", typed)
    assert typed not in str(refused.value).replace("0 to 125", "")


def test_flags_and_grades_refuse_other_codes() -> None:
    assert flag("insulin", "Não") is False
    assert integer_code("grade", "4.0", range(5)) == 4
    for bad in ("5", "-1", "2.5", "two", "1e400"):
        with pytest.raises(BadCode):
            integer_code("grade", bad, range(5))
