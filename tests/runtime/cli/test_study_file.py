"""Study files: what they say, and what is refused by name and without the value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import foveal, one_line

from foveal_runtime.cli.study_file import read_study
from foveal_runtime.errors import ImageError, InputError
from foveal_runtime.study.study import Eye, Record, Sex, Study


def study_file(folder: Path, document: object) -> Path:
    path = folder / "visit.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_a_study_file_gives_image_note_and_record(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "left.jpg").write_bytes(b"bytes")
    record = {"age_years": 61, "sex": "female", "eye": "left", "diabetes_years": 12.5, "insulin": True, "diabetes": None}
    study = read_study(study_file(tmp_path, {"image": "photos/left.jpg", "note": "Drusen.", "record": record}))
    assert study == Study(
        image=b"bytes",
        note="Drusen.",
        record=Record(age_years=61.0, sex=Sex.FEMALE, eye=Eye.LEFT, diabetes_years=12.5, insulin=True),
    )


@pytest.mark.parametrize("document", [{"note": "Drusen."}, {"note": "Drusen.", "record": {}, "image": None}])
def test_parts_that_are_left_out_are_absent(tmp_path: Path, document: dict[str, object]) -> None:
    assert read_study(study_file(tmp_path, document)) == Study(note="Drusen.")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("no json", "is no JSON"),
        ("[1]", "the study file is no JSON object"),
        ({"imag": "x"}, "'imag', which means nothing here"),
        ({"record": {"age": 61}}, "'age', which means nothing here; known are age_years"),
        ({"record": []}, "record is no JSON object"),
        ({"note": 5}, "note is not text"),
        ({"record": {"age_years": "4711"}}, "record.age_years is not a number"),
        ({"record": {"age_years": True}}, "record.age_years is not a number"),
        ({"record": {"age_years": 4711}}, "outside 0 to 125"),
        ({"record": {"insulin": "4711"}}, "record.insulin is neither true nor false"),
        ({"record": {"sex": "4711"}}, "record.sex is none of male, female"),
        ("x" * (1 << 20) + "x", "more than 1 MiB"),
        ('{"note": "macula \\ud83d edema"}', "note holds a NUL or half a character"),
        ('{"note": "a\\u0000b"}', "note holds a NUL or half a character"),
        ('{"image": "a\\u0000.jpg"}', "image holds a NUL"),
        ("[" * 100_000, "nested too deeply"),
        ('{"record": {"age_years": ' + "9" * 400 + "}}", "record.age_years is too large"),
        ('{"record": {"sex": "\\ud800"}}', "sex holds a NUL or half a character"),
    ],
)
def test_a_mistake_is_named_and_the_value_is_not(tmp_path: Path, document: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_study(study_file(tmp_path, document))
    assert "4711" not in str(caught.value)


def test_a_file_or_photograph_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="study file can't be read"):
        read_study(tmp_path / "none.json")
    with pytest.raises(ImageError, match="no such file"):
        read_study(study_file(tmp_path, {"image": "gone.jpg"}))


def test_search_names_the_study_file_that_is_no_text(tmp_path: Path) -> None:
    file = study_file(tmp_path, '{"note": "macula \\ud83d edema"}')
    done = foveal("search", "--study", str(file))
    assert done.returncode == 2
    assert one_line(done.stderr).startswith(f"error: {file}: note holds a NUL or half a character")


def test_the_study_file_that_was_misread_fails_by_name(cases: Path) -> None:
    with pytest.raises(InputError, match="note holds a NUL or half a character"):
        read_study(cases / "surrogate.json")
