"""mBRSET, DeepEyeNet, IDRiD, folder, and the specs that name them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import CLASSES, EDEMA, EDEMA_RISK, FINDING
from foveal_runtime.study.study import Eye, Sex
from foveal_train.data import load
from foveal_train.data.source import with_options

Jpeg = Callable[[int], bytes]


def test_mbrset_codes_sex_the_other_way_round_than_brset(tmp_path: Path, jpeg: Jpeg) -> None:
    (tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "images" / f"1.{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "labels_mbrset.csv").write_text(
        "patient,file,age,sex,dm_time,insulin,insulin_time,laterality,final_artifacts,final_quality,final_icdr,final_edema\n"
        "1,1.1.jpg,66.0,0,10.0,0.0,,right,no,yes,2.0,yes\n"
        "1,1.2.jpg,66.0,1,,1,,left,no,yes,,no\n"
        "1,1.3.jpg,66.0,1,3,1,,left,no,no,0,\n"
    )
    first, second, third = load(f"mbrset:{tmp_path}").samples
    assert first.record is not None
    assert (first.record.sex, first.record.eye, first.record.insulin) == (Sex.FEMALE, Eye.RIGHT, False)
    assert (first.labels.icdr, first.labels.macular_edema) == (2, 1)
    assert first.note == "Diabetic retinopathy is present. Macular edema is present."
    assert second.record is not None
    assert (second.record.sex, second.record.diabetes_years, second.record.diabetes) == (Sex.MALE, None, True)
    assert second.labels.icdr is None
    assert (third.labels.icdr, third.labels.macular_edema, third.note) == (0, None, "")
    assert {s.patient_id for s in (first, second, third)} == {"mbrset:1"}
    assert [s.labels.place("edema", FINDING) for s in (first, second, third)] == [1, 0, None]


def deepeyenet(root: Path, jpeg: Jpeg) -> str:
    (root / "eyenet0420" / "train_set").mkdir(parents=True)
    for number, name in enumerate("abc"):
        (root / "eyenet0420" / "train_set" / f"{name}.jpg").write_bytes(jpeg(number))
    entries = [
        {
            "eyenet0420/train_set/a.jpg": {
                "keywords": "drusen, dry amd",
                "clinical-description": "70-year-old. Diabetic retinopathy, mild. Drusen.",
            },
            "eyenet0420/train_set/b.jpg": {"Keywords": "diabetic retinopathy (dr)", "clinical-description": ""},
        },
        {"eyenet0420/train_set/c.jpg": {"keywords": ["macular hole"]}},
    ]
    (root / "DeepEyeNet_train.json").write_text(json.dumps(entries))
    return f"deepeyenet:{root}"


def test_deepeyenet_reads_many_images_an_object_and_both_spellings(tmp_path: Path, jpeg: Jpeg) -> None:
    a, b, c = load(deepeyenet(tmp_path, jpeg)).samples
    assert a.keywords == ("drusen", "dry amd")
    assert a.note_without_dr == "70-year-old. Drusen."
    assert b.note == "diabetic retinopathy (dr)"
    assert b.note_without_dr == ""
    assert c.note == "macular hole"
    assert len({s.patient_id for s in (a, b, c)}) == 3


def test_deepeyenet_images_outside_its_folder_are_refused(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = deepeyenet(tmp_path / "set", jpeg)
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    (tmp_path / "set" / "DeepEyeNet_test.json").write_text(json.dumps([{"../secret.jpg": {"keywords": "x"}}]))
    with pytest.raises(DataError, match="leaves the data set's folder"):
        load(spec)


def test_deepeyenet_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "DeepEyeNet_test.json").write_text('"a"')
    with pytest.raises(DataError, match="no list of objects"):
        load(f"deepeyenet:{tmp_path}")


def idrid_of(root: Path, rows: str, jpeg: Jpeg, images: tuple[str, ...]) -> str:
    part = root / "B. Disease Grading"
    pictures = part / "1. Original Images" / "a. Training Set"
    pictures.mkdir(parents=True)
    (part / "2. Groundtruths").mkdir()
    (part / "2. Groundtruths" / "a. IDRiD_Disease Grading_Training Labels.csv").write_text(
        "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\n" + rows
    )
    for number, name in enumerate(images):
        (pictures / f"{name}.jpg").write_bytes(jpeg(number))
    return f"idrid:{root}"


def test_idrid_is_read_past_its_trailing_blank_and_empty_columns(tmp_path: Path, jpeg: Jpeg) -> None:
    rows = "IDRiD_001,3,2,,,,,,,,,\nIDRiD_002,0,0,,,,,,,,,\n"
    spec = idrid_of(tmp_path, rows, jpeg, ("IDRiD_001", "IDRiD_002"))
    samples = load(spec).samples
    assert [(s.labels.icdr, s.labels.macular_edema) for s in samples] == [(3, 2), (0, 0)]
    assert [[s.labels.place(head, CLASSES[head]) for head in (EDEMA, EDEMA_RISK)] for s in samples] == [[1, 2], [0, 0]]
    assert load(f"{spec}/B. Disease Grading").samples == samples
    assert all(s.record is None and s.note == "" for s in samples)


def test_idrid_lists_every_bad_row_before_it_stops(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = idrid_of(tmp_path, "IDRiD_001,7,2\nIDRiD_002,0,3\nIDRiD_003,0,0\nIDRiD_004,1,1\n", jpeg, ("IDRiD_001", "IDRiD_004"))
    with pytest.raises(DataError) as refused:
        load(spec)
    for line in ("3 rows are unusable", "row 2 (IDRiD_001)", "rows 3 (IDRiD_002), 4 (IDRiD_003)"):
        assert line in str(refused.value)
    assert [s.id for s in load(spec, skip_bad=True).samples] == ["IDRiD_004"]


def test_real_idrid_has_404_graded_photographs(idrid: Path) -> None:
    samples = load(f"idrid:{idrid}").samples
    assert Counter(s.labels.icdr for s in samples) == {0: 133, 1: 18, 2: 132, 3: 73, 4: 48}


def test_a_clinics_folder_becomes_samples(tmp_path: Path, jpeg: Jpeg) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "b.jpg").write_bytes(jpeg(2))
    (tmp_path / "labels.csv").write_text(
        "Image;Grade;Patient ID;Age;Note;Ward\na;2;9;61,5;NPDR, moderate. Clear media.;3\nb;0;9;;;3\n"
    )
    dataset = load(f"folder:{tmp_path}")
    a, b = dataset.samples
    assert (a.labels.icdr, a.patient_id, a.note_without_dr) == (2, "folder:9", "Clear media.")
    assert a.record is not None
    assert a.record.age_years == 61.5
    assert b.record is None
    assert dataset.remarks == ("columns that are not used: Ward",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kaggle:/tmp", "names no kind"),
        ("idrid", "has no path"),
        ("idrid:", "has no path"),
        ("idrid:/nowhere/at/all", "does not exist"),
    ],
)
def test_a_spec_that_means_nothing_says_how_to_write_one(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(spec)


def test_a_table_that_is_no_text_is_refused(copied: Path) -> None:
    shutil.copyfile(next((copied / "fundus_photos").iterdir()), copied / "labels_brset.csv")
    with pytest.raises(DataError, match=r"no CSV in UTF-8|no BRSET release|lacks the columns"):
        load(f"brset:{copied}")


MBRSET = "patient,file,age,sex,dm_time,insulin,laterality,final_icdr,final_edema\n"


def mbrset_of(root: Path, rows: str, jpeg: Jpeg, *names: str) -> Path:
    (root / "images").mkdir()
    for number, name in enumerate(names):
        (root / "images" / name).write_bytes(jpeg(number))
    (root / "labels_mbrset.csv").write_text(MBRSET + rows)
    return root


def test_mbrsets_known_gap_is_reported_and_not_fatal(tmp_path: Path, jpeg: Jpeg) -> None:
    rows = "1,1.1.jpg,66,0,,,OD,2,yes\n985,985.1.jpg,50,1,,,left,0,no\n"
    root = mbrset_of(tmp_path, rows, jpeg, "1.1.jpg")
    dataset = load(f"mbrset:{root}")
    assert [s.id for s in dataset.samples] == ["1.1.jpg"]
    assert dataset.remarks == ("known gap of the release: 985.1.jpg is in its table and not among its photographs",)
    assert load(f"mbrset:{root / 'labels_mbrset.csv'}").samples == dataset.samples
    (root / "labels_mbrset.csv").write_text(MBRSET + rows + "2,2.1.jpg,50,1,,,left,0,no\n")
    with pytest.raises(DataError, match=r"row 4 \(2\.1\.jpg\): photograph is not in the folder"):
        load(f"mbrset:{root}")


def test_idrid_is_found_in_the_folders_that_unpacking_made(tmp_path: Path, jpeg: Jpeg) -> None:
    idrid_of(tmp_path / "B.%20Disease%20Grading", "IDRiD_001,3,2\n", jpeg, ("IDRiD_001",))
    assert [s.id for s in load(f"idrid:{tmp_path}").samples] == ["IDRiD_001"]
    idrid_of(tmp_path / "B. Disease Grading", "IDRiD_001,3,2\n", jpeg, ("IDRiD_001",))
    with pytest.raises(DataError, match="labels of IDRiD twice"):
        load(f"idrid:{tmp_path}")


def test_deepeyenet_is_read_with_its_files_inside_eyenet0420_and_as_one_object(tmp_path: Path, jpeg: Jpeg) -> None:
    spec = deepeyenet(tmp_path, jpeg)
    before = load(spec).samples
    file = tmp_path / "DeepEyeNet_train.json"
    entries = json.loads(file.read_text())
    file.write_text(json.dumps({name: entry for item in entries for name, entry in item.items()}))
    assert load(spec).samples == before
    file.rename(tmp_path / "eyenet0420" / file.name)
    assert [s.id for s in load(spec).samples] == [s.id for s in before]
    assert [s.id for s in load(f"{spec}/eyenet0420").samples] == [s.id for s in before]


def test_a_deepeyenet_file_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "DeepEyeNet_test.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="can't be read as JSON"):
        load(f"deepeyenet:{tmp_path}")


def test_flags_are_written_into_a_spec_and_read_from_it(tmp_path: Path, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "labels.csv").write_text("file;Grau;patient\na;R3;\n")
    (tmp_path / "map.toml").write_text("[values.icdr]\nR3 = 3\n")
    monkeypatch.chdir(tmp_path)
    spec = with_options("folder:.", columns=Path("map.toml"), own_patients=True, absolute=True)
    monkeypatch.chdir("/")
    assert spec == f"folder:{tmp_path}?columns={tmp_path}/map.toml&own-patients"
    dataset = load(spec)
    assert [(s.labels.icdr, s.patient_id) for s in dataset.samples] == [(3, "folder:a.jpg")]
    assert dataset.remarks == ("each of these rows has no patient and is one of its own: 2",)
    with pytest.raises(DataError, match="has the option 'x'"):
        load(f"{spec}&x")


def test_fifteen_unknown_eyes_are_one_line_that_says_what_is_accepted(tmp_path: Path, jpeg: Jpeg) -> None:
    rows = []
    for i in range(15):
        (tmp_path / f"{i:02d}.jpg").write_bytes(jpeg(i))
        rows.append(f"{i:02d}.jpg;{'XE' if i % 2 else 'right'}\n")
    (tmp_path / "labels.csv").write_text("file;eye\n" + "".join(rows))
    with pytest.raises(DataError) as refused:
        load(f"folder:{tmp_path}")
    assert str(refused.value).count("unknown code") == 2
    assert str(refused.value).count("accepted: right, r, od") == 1
    assert "--skip-bad" not in str(refused.value)
