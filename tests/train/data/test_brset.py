"""BRSET in its three releases, quirk by quirk, on tables written here cell by cell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import FINDING
from foveal_runtime.study.study import Eye, Modality, Sex
from foveal_train.data import load
from foveal_train.data.brset import RELEASES, Release

Jpeg = Callable[[int], bytes]

PLAIN = {
    "patient_id": "7", "camera": "Canon CR", "patient_age": "61.0", "diabetes_time_y": "12", "patient_sex": "2",
    "exam_eye": "1", "diabetes": "yes", "optic_disc": "1", "vessels": "1", "macula": "2", "DR_SDRG": "2", "DR_ICDR": "2",
    "diabetic_retinopathy": "1", "quality": "Adequate", "nationality": "Brazil",
}  # fmt: skip


def write(root: Path, release: Release, rows: list[dict[str, str]], jpeg: Jpeg, *, drop: str = "") -> str:
    """A BRSET folder of these rows over PLAIN; returns its spec."""
    (root / "fundus_photos").mkdir(parents=True)
    columns = [column for column in release.columns if column != drop]
    with (root / release.table).open("w", newline="") as file:
        table = csv.DictWriter(file, columns, restval="0", extrasaction="ignore")
        table.writeheader()
        for number, row in enumerate(rows, start=1):
            name = f"img{number:05d}"
            table.writerow({"image_id": name, release.insulin: ""} | PLAIN | row)
            (root / "fundus_photos" / f"{name}.jpg").write_bytes(jpeg(number))
    return f"brset:{root}"


@pytest.mark.parametrize("release", RELEASES, ids=lambda r: r.version)
def test_every_release_is_read_with_its_own_spellings(release: Release, tmp_path: Path, jpeg: Jpeg) -> None:
    assert len(release.columns) == 34
    spec = write(tmp_path / "set", release, [{release.insulin: "yes", release.drusen: "1"}], jpeg)
    dataset = load(spec)
    (sample,) = dataset.samples
    assert dataset.name == f"brset {release.version}"
    assert sample.record is not None
    assert sample.record.insulin is True
    assert sample.findings == ("diabetic_retinopathy", "drusen")
    assert sample.note == "Diabetic retinopathy is present. Drusen are present."
    assert sample.note_without_dr == "Drusen are present."


def test_a_row_becomes_record_labels_and_study(tmp_path: Path, jpeg: Jpeg) -> None:
    (sample,) = load(write(tmp_path / "set", RELEASES[1], [{}], jpeg)).samples
    assert sample.id == "img00001"
    assert sample.patient_id == "brset:7"
    assert sample.camera == "Canon CR"
    assert sample.record is not None
    assert (sample.record.age_years, sample.record.diabetes_years) == (61.0, 12.0)
    assert (sample.record.sex, sample.record.eye, sample.record.diabetes) == (Sex.FEMALE, Eye.RIGHT, True)
    assert (sample.labels.icdr, sample.labels.sdrg, sample.labels.macular_edema) == (2, 2, 0)
    assert sample.labels.place("edema", FINDING) == 0
    assert {name for name, _ in sample.labels.others} >= {"edema", "drusen", "hemorrhage", "diabetic_retinopathy"}
    assert all(place == (name in sample.findings) for name, place in sample.labels.others if name != "edema")
    assert sample.study().modalities == frozenset(Modality)
    assert sample.study(note=None).modalities == {Modality.IMAGE, Modality.STRUCTURED}
    assert sample.study(note="other words").note == "other words"


@pytest.mark.parametrize(
    ("typed", "years"),
    [("Não", None), ("", None), ("2,5", 2.5), ("1O", 10.0), ("O", 0.0), ("2O,5", 20.5), ("7.0", 7.0), ("15 anos", 15.0)],
)
def test_durations_are_read_as_clinics_typed_them(typed: str, years: float | None, tmp_path: Path, jpeg: Jpeg) -> None:
    (sample,) = load(write(tmp_path / "set", RELEASES[1], [{"diabetes_time_y": typed}], jpeg)).samples
    assert sample.record is not None
    assert sample.record.diabetes_years == years


def test_stray_anatomy_codes_refuse_no_row(tmp_path: Path, jpeg: Jpeg) -> None:
    rows = [{"vessels": "bv"}, {"optic_disc": "0"}, {"macula": "0"}]
    assert len(load(write(tmp_path / "set", RELEASES[1], rows, jpeg)).samples) == 3


def test_missing_cells_and_capitals_are_read(tmp_path: Path, jpeg: Jpeg) -> None:
    row = {
        "patient_age": "",
        "diabetes": "No",
        "insuline": "no",
        "exam_eye": "2",
        "patient_sex": "1",
        "DR_ICDR": "",
        "DR_SDRG": "",
    }
    (sample,) = load(write(tmp_path / "set", RELEASES[1], [row], jpeg)).samples
    assert sample.record is not None
    assert (sample.record.age_years, sample.record.diabetes, sample.record.insulin) == (None, False, False)
    assert (sample.record.eye, sample.record.sex) == (Eye.LEFT, Sex.MALE)
    assert sample.labels.icdr is None
    assert sample.labels.sdrg is None


def test_rows_whose_flag_contradicts_the_grade_are_kept_and_counted(tmp_path: Path, jpeg: Jpeg) -> None:
    rows = [{"DR_ICDR": "0"}, {"diabetic_retinopathy": "0"}, {}]
    dataset = load(write(tmp_path / "set", RELEASES[1], rows, jpeg))
    assert [s.labels.icdr for s in dataset.samples] == [0, 2, 2]
    assert [s.note for s in dataset.samples][:2] == ["Diabetic retinopathy is present.", ""]
    assert dataset.remarks[0].startswith("2 rows")


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"DR_ICDR": "7"}, "DR_ICDR has the unknown code '7'"),
        ({"DR_SDRG": "1.5"}, "DR_SDRG has the unknown code '1.5'"),
        ({"exam_eye": "3"}, "exam_eye has the unknown code '3'"),
        ({"diabetes": "maybe"}, "diabetes has the unknown code 'maybe'"),
        ({"patient_age": "430"}, "patient_age is no number of years"),
        ({"patient_id": ""}, "patient_id is empty"),
        ({"diabetic_retinopathy": "2"}, "diabetic_retinopathy has the unknown code '2'"),
        ({"image_id": "img09999"}, "photograph is not in the folder"),
        ({"image_id": "img00001"}, "occurs in an earlier row"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_or_skipped_by_flag(
    cells: dict[str, str], what: str, tmp_path: Path, jpeg: Jpeg
) -> None:
    spec = write(tmp_path / "set", RELEASES[1], [{}, cells], jpeg)
    with pytest.raises(DataError) as refused:
        load(spec)
    assert what in str(refused.value)
    assert "row 3" in str(refused.value)
    dataset = load(spec, skip_bad=True)
    assert len(dataset.samples) == 1
    assert [problem.row for problem in dataset.problems] == [3]


def test_an_age_never_stands_in_an_error(tmp_path: Path, jpeg: Jpeg) -> None:
    with pytest.raises(DataError) as refused:
        load(write(tmp_path / "set", RELEASES[1], [{"patient_age": "430"}], jpeg))
    assert "430" not in str(refused.value)


def test_a_missing_column_is_named(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = write(tmp_path / "set", RELEASES[1], [{}], jpeg, drop="DR_ICDR")
    with pytest.raises(DataError, match="lacks the column DR_ICDR"):
        load(spec)


def test_a_table_named_as_one_release_with_the_header_of_another_is_refused(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = write(tmp_path / "set", RELEASES[2], [{}], jpeg)
    (tmp_path / "set" / "label_brset.csv").rename(tmp_path / "set" / "labels_brset.csv")
    with pytest.raises(DataError, match=r"named as in BRSET 1\.0\.1 and has the header of 1\.0\.2"):
        load(spec)


def test_two_releases_in_one_folder_must_be_told_apart(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = write(tmp_path / "set", RELEASES[1], [{}], jpeg)
    (tmp_path / "set" / "labels.csv").write_text("image_id\n")
    with pytest.raises(DataError, match="2 BRSET releases"):
        load(spec)
    assert len(load(f"{spec}/labels_brset.csv").samples) == 1


def test_a_folder_of_another_kind_is_refused_with_the_names_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of labels\.csv, labels_brset\.csv, label_brset\.csv"):
        load(f"brset:{tmp_path}")
