"""A clinic's folder: any spelling of the header, any reasonable cell, and clear words for the rest."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, flag, integer_code, years
from foveal_runtime.study.folder import read_folder
from foveal_runtime.study.mapping import ColumnMap, Reading
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


@pytest.mark.parametrize(
    ("column", "typed", "field", "value"),
    [
        ("grade", "Mild", "icdr", 1), ("grade", "PDR", "icdr", 4), ("grade", "No DR", "icdr", 0), ("Grau", "leve", "icdr", 1),
        ("Grau", "RDNP grave", "icdr", 3), ("grade", "3,0", "icdr", 3), ("SDRG", "R2", "sdrg", 2),
        ("adjudicated_dr_grade", "2", "icdr", 2), ("adjudicated_dme", "1", "macular_edema", 1),
        ("edema", "sim", "macular_edema", 1),
        ("note", "nan", "note", None), ("note", "NULL", "note", None), ("note", "NA", "note", None),
        ("note", "-", "note", None),
        ("acquired", "25/12/2024", "acquired", date(2024, 12, 25)),
        ("data do exame", "3 de abril de 2024", "acquired", date(2024, 4, 3)),
        ("date", "2024-04-03 10:22:01", "acquired", date(2024, 4, 3)), ("date", "20240403", "acquired", date(2024, 4, 3)),
        ("date", "03.04.2024", "acquired", date(2024, 4, 3)), ("date", "03-Apr-2024", "acquired", date(2024, 4, 3)),
    ],
)  # fmt: skip
def test_words_of_clinics_are_read(column: str, typed: str, field: str, value: object, folder: Path) -> None:
    (folder / "labels.csv").write_text(f"id;{column}\na.jpg;{typed}\n")
    (row,) = read_folder(folder).rows
    assert getattr(row, field) == value


@pytest.mark.parametrize(
    ("typed", "eye"),
    [(t, Eye.RIGHT) for t in ("OD", "D", "right eye", "Olho direito", "R", "o.d.")]
    + [(t, Eye.LEFT) for t in ("OS", "OE", "E", "left eye", "ESQUERDO", "O.E.")],
)
def test_eyes_are_read_in_english_and_portuguese(typed: str, eye: Eye, folder: Path) -> None:
    (folder / "labels.csv").write_text(f"Imagem;Olho\na.jpg;{typed}\n")
    (row,) = read_folder(folder).rows
    assert row.record is not None
    assert row.record.eye is eye


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("file;grade\na.jpg;R2\n", "level of another scale (R2)"),
        ("file;grade\na.jpg;none\n", "may be grade 0 or no grade"),
        ("file;date\na.jpg;03/04/2024\n", "may be two different days"),
        ("file;date\na.jpg;30/30/2024\n", "no date of the form"),
        ("file;sex\na.jpg;M\nb.PNG;H\n", "may be mulher"),
        ("file;patient\na.jpg;\n", "patient is empty"),
        ("file;left eye DR level;right eye DR level\na.jpg;1;2\n", "no column says which eye"),
        ("file;eye\na.jpg;OU\n", "accepted: right, r, od"),
    ],
)
def test_what_can_be_read_two_ways_is_refused(text: str, what: str, folder: Path) -> None:
    (folder / "labels.csv").write_text(text)
    assert what in str(read_folder(folder).bad_rows[0])


def test_a_number_that_may_be_an_age_and_a_text_that_may_be_a_note_are_not_repeated(folder: Path) -> None:
    (folder / "labels.csv").write_text("file;grade;eye\na.jpg;61;\nb.PNG;1;haemorrhages seen in both eyes\n")
    text = "\n".join(map(str, read_folder(folder).bad_rows))
    assert "61" not in text
    assert "haemorrhages" not in text
    assert "2" in text


def test_a_mapping_file_gives_words_their_meaning(folder: Path) -> None:
    (folder / "labels.csv").write_text("file;Grau;Olho;Dia\na.jpg;R2;1;03/04/2024\nb.PNG;x;2;05/04/2024\n")
    mapping = ColumnMap(
        columns={"dia": "acquired"},
        values={"grau": {"r2": "2", "x": ""}, "olho": {"1": "right", "2": "left"}},
        dates="day-first",
    )
    first, second = read_folder(folder, Reading(columns=mapping)).rows
    assert (first.icdr, second.icdr, first.acquired) == (2, None, date(2024, 4, 3))
    assert second.record is not None
    assert second.record.eye is Eye.LEFT
    with pytest.raises(DataError, match="names the field 'grad'"):
        read_folder(folder, Reading(columns=ColumnMap(columns={"dia": "grad"})))


def test_a_blank_patient_is_its_own_by_flag_and_listed(folder: Path) -> None:
    (folder / "labels.csv").write_text("file;patient\na.jpg;\nb.PNG;7\n")
    assert [bad.row for bad in read_folder(folder).bad_rows] == [2]
    found = read_folder(folder, Reading(own_patients=True))
    assert [row.patient_id for row in found.rows] == ["a.jpg", "7"]
    assert found.own_patients == (2,)


def test_a_grade_that_is_not_read_is_named(folder: Path) -> None:
    (folder / "labels.csv").write_text(
        "file,reader2_dr_grade,image quality level,severidade,ward\na.jpg,1,2,Mild,3\nb.PNG,0,1,No DR,1\n"
    )
    assert read_folder(folder).unread_grades == ("reader2_dr_grade", "severidade")
    (folder / "labels.csv").write_text("file,patient_DR_Level\na.jpg,1\nb.PNG,0\n")
    assert read_folder(folder).unread_grades == ("patient_DR_Level",)


def test_deepdrids_table_is_read_with_the_eye_that_its_columns_tell(tmp_path: Path) -> None:
    (tmp_path / "Images" / "4").mkdir(parents=True)
    for name in ("4_l1", "4_r1"):
        Image.new("RGB", (40, 40), (130, 70, 30)).save(tmp_path / "Images" / "4" / f"{name}.jpg")
    (tmp_path / "t.csv").write_text(
        "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,Clarity\n"
        "4,4_l1,\\regular-fundus-training\\4\\4_l1.jpg,0,3,,4,6\n4,4_r1,\\regular-fundus-training\\4\\4_r1.jpg,0,,4,4,8\n"
    )
    found = read_folder(tmp_path)
    assert [(r.icdr, r.record.eye if r.record else None, r.patient_id) for r in found.rows] == [
        (3, Eye.LEFT, "4"),
        (4, Eye.RIGHT, "4"),
    ]
    assert found.unread_grades == ()


def test_thumbnails_and_what_is_no_photograph_are_left_out_with_the_reason(folder: Path) -> None:
    for name in ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "c.HEIC", ".DS_Store", "__MACOSX/._a.jpg", "._a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = read_folder(folder)
    assert [row.id for row in found.rows] == ["a.jpg", "b.PNG", "visit 2/c.jpg"]
    why = {each.path.name: each.why for each in found.skipped}
    assert why.keys() == {"@eaDir", "c.HEIC", ".DS_Store", "__MACOSX", "._a.jpg"}
    assert "convert it to JPEG" in why["c.HEIC"]
