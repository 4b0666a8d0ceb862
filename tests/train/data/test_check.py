"""`foveal data check` and `foveal data synth`: what they report, and that JSON stands alone on stdout."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from foveal_runtime.errors import CheckFailed, DataError
from foveal_train.cli.data import check, synth

Edit = Callable[[Path, Callable[[str], str]], None]


def test_a_clean_data_set_is_counted_and_passes(generated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(f"brset:{generated}", as_json=True)
    out = json.loads(capsys.readouterr().out)
    assert out["ok"] is True
    assert (out["images"], out["patients"]) == (120, 60)
    assert sum(out["icdr"].values()) == 120
    assert out["missing"]["image"] == 0
    assert 0 < out["missing"]["age_years"] < 120
    assert out["duplicates"] == out["refused"] == out["problems"] == []


def test_everything_wrong_is_listed_before_it_fails(copied: Path, edit: Edit, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = copied / "fundus_photos"
    truncated = photographs / "img00003.jpg"
    truncated.write_bytes(truncated.read_bytes()[:900])
    (photographs / "img00005.jpg").write_text("no photograph")
    (photographs / "img00007.jpg").unlink()
    shutil.copyfile(photographs / "img00009.jpg", photographs / "img00021.jpg")
    edit(copied / "labels_brset.csv", lambda text: text.replace("\nimg00011,6,", "\nimg00011,,", 1))
    with pytest.raises(CheckFailed, match="5 things need mending"):
        check(f"brset:{copied}", as_json=True)
    out = json.loads(capsys.readouterr().out)
    assert out["ok"] is False
    assert {p["id"] for p in out["refused"]} == {"img00003", "img00005"}
    assert [(p["row"], p["id"]) for p in out["problems"]] == [(8, "img00007"), (12, "img00011")]
    (duplicate,) = out["duplicates"]
    assert (duplicate["ids"], duplicate["patients"]) == (["img00009", "img00021"], 2)


def test_the_same_pixels_in_another_format_are_a_duplicate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = Image.effect_mandelbrot((48, 48), (-2, -2, 2, 2), 30).convert("RGB")
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.tif")
    with pytest.raises(CheckFailed, match="1 thing needs mending"):
        check(f"folder:{tmp_path}")
    assert "same photograph: a.png, b.tif (of 2 patients)" in capsys.readouterr().out


def test_two_equal_photographs_of_one_patient_are_told_and_harm_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (120, 60, 30)).save(buffer, "PNG")
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(buffer.getvalue())
    (tmp_path / "labels.csv").write_text("file,patient,grade\na,1,2\nb,1,2\n")
    check(f"folder:{tmp_path}")
    assert "same photograph: a.png, b.png" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("file,patient,grade\na,1,2\nb,1,3\n")
    with pytest.raises(CheckFailed):
        check(f"folder:{tmp_path}")
    assert "with labels that differ" in capsys.readouterr().out


def test_the_text_report_names_grades_and_missing_values(generated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(f"brset:{generated}")
    told = capsys.readouterr().out
    for words in ("120 photographs of 60 patients", "ICDR grade", "age_years", "Canon CR", "refused files: none"):
        assert words in told


def test_a_data_set_that_cannot_be_read_at_all_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        check(f"brset:{tmp_path}", as_json=True)


def test_synth_prints_one_json_document_and_keeps_progress_off_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    synth(out, patients=2, seed=1, side_px=64, as_json=True)
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["spec"] == f"brset:{out}"
    check(document["spec"])
    assert document["images"] == 4


def test_a_column_of_grades_that_is_not_read_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.effect_mandelbrot((48, 48), (-2, -2, 2, 2), 30).convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("image,second_reader_dr_grade\na.png,2\n")
    with pytest.raises(CheckFailed, match="1 thing needs mending"):
        check(f"folder:{tmp_path}")
    assert "looks like a grade and is not read" in capsys.readouterr().out
    (tmp_path / "map.toml").write_text('[columns]\nsecond_reader_dr_grade = "icdr"\n')
    check(f"folder:{tmp_path}", columns=tmp_path / "map.toml")
    assert "ICDR grade     2: 1" in capsys.readouterr().out
