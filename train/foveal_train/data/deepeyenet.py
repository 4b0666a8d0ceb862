"""DeepEyeNet (Huang et al. 2021): photographs with keywords and a clinical description, for zero-shot retrieval.

It has no grades, no records and no patients: every image counts as its own patient. The note is the description; where
that is empty, the keywords. The JSON files have no lines worth naming: a problem's row counts the images of its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode
from foveal_runtime.study.finder import Finder
from foveal_runtime.study.mapping import ColumnMap, Reading
from foveal_runtime.study.photographs import photographs_in
from foveal_runtime.study.synonyms import NOTE_MISSING, fold
from foveal_train.data.notes import without_dr
from foveal_train.data.sample import Dataset, Problem, Sample

FILES = ("DeepEyeNet_train.json", "DeepEyeNet_valid.json", "DeepEyeNet_test.json")
_TOP = "eyenet0420"


class _Pairs(list[tuple[str, object]]):
    """A JSON object as its pairs: a name that occurs twice is not lost."""


def read(path: Path, spec: str, reading: Reading) -> Dataset:
    """Read the JSON files in the folder `path` or its eyenet0420/, or the one file at `path`.

    Raises:
        DataError: no such file, a file that holds no images, or a mapping file: there is no table.
    """
    if reading.columns != ColumnMap():
        raise DataError(f"{spec} has no table for the mapping file; leave --columns out")
    folders = (path, path / _TOP)
    files = [path] if path.is_file() else [d / name for d in folders for name in FILES if (d / name).is_file()]
    if not files:
        raise DataError(f"{path} holds none of {', '.join(FILES)}; give the folder that contains them")
    if twice := {file.name for file in files if [f.name for f in files].count(file.name) > 1}:
        raise DataError(f"{path} holds {min(twice)} twice, in itself and in {_TOP}/; name the folder of one")
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    from_keywords = 0
    for file in files:
        images = _images(file.parent)
        find = Finder(images)
        for row, (name, entry) in enumerate(_entries(file), start=1):
            found = ""
            try:
                found = _find(find, name)
                if found in seen:
                    raise BadCode("image occurs earlier")
                seen.add(found)
                keywords = tuple(w.strip() for w in _text(entry, "keywords").split(",") if w.strip())
                note = _text(entry, "clinical-description")
            except BadCode as bad:
                problems.append(Problem(row=row, id=found or find.label(name), what=f"{file.name}: {bad}"))
                continue
            if not note and keywords:
                note = ", ".join(keywords)
                from_keywords += 1
            samples.append(
                Sample(
                    id=found,
                    patient_id=f"deepeyenet:{found}",
                    image_path=images[found],
                    note=note,
                    note_without_dr=without_dr(note),
                    keywords=keywords,
                    row=row,
                )
            )
    remarks = (f"{from_keywords} descriptions are empty; the keywords are the note",) if from_keywords else ()
    return Dataset(name="deepeyenet", spec=spec, samples=tuple(samples), problems=tuple(problems), remarks=remarks)


def _entries(file: Path) -> Iterator[tuple[str, object]]:
    """Every image's name and entry: of a list of objects, as published, or of one object."""
    try:
        document = json.loads(file.read_bytes(), object_pairs_hook=_Pairs)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} can't be read as JSON ({type(error).__name__}); download it again") from None
    objects = [document] if isinstance(document, _Pairs) else document
    if not isinstance(objects, list) or not all(isinstance(item, _Pairs) for item in objects):
        raise DataError(f"{file} is no list of objects; it should be one of {', '.join(FILES)}")
    for item in objects:
        yield from item


def _images(folder: Path) -> dict[str, Path]:
    """Photographs by the names that the JSON files use: they begin with eyenet0420/, wherever the files lie."""
    prefix = "" if (folder / _TOP).is_dir() else f"{_TOP}/"
    return {prefix + name: file for name, file in photographs_in(folder).items()}


def _find(find: Finder, name: str) -> str:
    if ".." in name.replace("\\", "/").split("/"):
        raise BadCode("image path leaves the data set's folder")
    return find(name)


def _text(entry: object, key: str) -> str:
    """The text under `key`, whatever its capitals; a list of words is joined; missing is ""."""
    if not isinstance(entry, _Pairs):
        raise BadCode("the entry is no object")
    values = [v for k, v in entry if k.casefold() == key]
    if len(values) > 1:
        raise BadCode(f"{key} occurs twice")
    value = values[0] if values else None
    if isinstance(value, list) and not isinstance(value, _Pairs) and all(isinstance(word, str) for word in value):
        value = ", ".join(value)
    if not isinstance(value, str | None):
        raise BadCode(f"{key} is no text")
    text = (value or "").strip()
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise BadCode(f"{key} holds characters that are no text")
    return "" if fold(text) in NOTE_MISSING else text
