"""DeepEyeNet (Huang et al. 2021): photographs with keywords and a clinical description, for zero-shot retrieval.

It has no grades, no records and no patients: every image counts as its own patient. The note is the description; where
that is empty, the keywords. The JSON files have no lines worth naming: a problem's row counts the images of its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode
from foveal_train.data.notes import without_dr
from foveal_train.data.sample import Dataset, Problem, Sample

FILES = ("DeepEyeNet_train.json", "DeepEyeNet_valid.json", "DeepEyeNet_test.json")
_TOP = "eyenet0420"


def read(path: Path, spec: str) -> Dataset:
    """Read the JSON files below the folder `path` that are there, or the one file at `path`.

    Raises:
        DataError: no such file, or a file that is no list of images.
    """
    files = [path] if path.is_file() else [path / name for name in FILES if (path / name).is_file()]
    if not files:
        raise DataError(f"{path} holds none of {', '.join(FILES)}; give the folder that contains them")
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    from_keywords = 0
    for file in files:
        for row, (name, entry) in enumerate(_entries(file), start=1):
            try:
                if name in seen:
                    raise BadCode("image occurs earlier")
                seen.add(name)
                image_path = _image(file.parent, name)
                keywords = tuple(w.strip() for w in _text(entry, "keywords").split(",") if w.strip())
                note = _text(entry, "clinical-description")
            except BadCode as bad:
                problems.append(Problem(row=row, id=name, what=f"{file.name}: {bad}"))
                continue
            if not note and keywords:
                note = ", ".join(keywords)
                from_keywords += 1
            samples.append(
                Sample(
                    id=name,
                    patient_id=f"deepeyenet:{name}",
                    image_path=image_path,
                    note=note,
                    note_without_dr=without_dr(note),
                    keywords=keywords,
                    row=row,
                )
            )
    remarks = (f"{from_keywords} descriptions are empty; the keywords are the note",) if from_keywords else ()
    return Dataset(name="deepeyenet", spec=spec, samples=tuple(samples), problems=tuple(problems), remarks=remarks)


def _entries(file: Path) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read as JSON ({type(error).__name__}); download it again") from None
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise DataError(f"{file} is no list of objects; it should be one of {', '.join(FILES)}")
    for item in document:
        for name, entry in item.items():
            if not isinstance(entry, dict):
                raise DataError(f"{file}: the entry of {name} is no object; download the file again")
            yield name, entry


def _image(root: Path, name: str) -> Path:
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise BadCode("image path leaves the data set's folder")
    # Some copies have the JSON files inside eyenet0420/, beside train_set/.
    for candidate in (root / relative, root / Path(*relative.parts[1:]) if relative.parts[0] == _TOP else root / relative):
        if candidate.is_file():
            return candidate
    raise BadCode("image is missing")


def _text(entry: dict[str, object], key: str) -> str:
    """The text under `key`, whatever its capitals; a list of words is joined; missing is ""."""
    value = next((v for k, v in entry.items() if k.casefold() == key), None)
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return ", ".join(value).strip()
    if not isinstance(value, str):
        raise BadCode(f"{key} is no text")
    return value.strip()
