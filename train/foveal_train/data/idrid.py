"""IDRiD (Porwal et al. 2018), part B, training set: grade and macular-edema risk; no notes, no records, no patients.

Every image counts as its own patient, since the data set names none.
"""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, integer_code
from foveal_runtime.study.finder import Finder
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.mapping import Reading
from foveal_runtime.study.photographs import photographs_in
from foveal_runtime.study.synonyms import ICDR
from foveal_runtime.study.table import read_table, require_columns
from foveal_train.data.sample import Dataset, Labels, Problem, Sample, edema_labels

_PART = "B. Disease Grading"
_IMAGES = Path("1. Original Images") / "a. Training Set"
_LABELS = Path("2. Groundtruths") / "a. IDRiD_Disease Grading_Training Labels.csv"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "Image name": (),
    "Retinopathy grade": (),
    "Risk of macular edema": (),
}
CAMERA = "Kowa VX-10 alpha"
_DEPTH, _WIDTH = 4, 200
"""Folders looked into for the labels, down and across."""


def read(root: Path, spec: str, reading: Reading) -> Dataset:
    """Read the training set below `root`: the data set's folder, its part B, or a folder that unpacking put around them.

    Raises:
        DataError: the layout or a column is missing.
    """
    base = _base(root)
    table = read_table(base / _LABELS, reading.columns)
    column = require_columns(table, _COLUMNS)
    samples: list[Sample] = []
    problems: list[Problem] = list(table.bad)
    seen: set[str] = set()
    folder = base / _IMAGES
    images = photographs_in(folder) if folder.is_dir() else {}
    find = Finder(images)
    for row, cells in table.rows:
        cell, name = cells[column["Image name"]], ""
        try:
            if not cell:
                raise BadCode("image name is empty")
            path = images[find(cell)]
            name = path.stem
            if name in seen:
                raise BadCode("image occurs in an earlier row")
            seen.add(name)
            risk = integer_code("Risk of macular edema", cells[column["Risk of macular edema"]], range(3))
            labels = Labels(
                icdr=integer_code("Retinopathy grade", cells[column["Retinopathy grade"]], range(GRADES), ICDR),
                macular_edema=risk,
                others=edema_labels(risk, is_risk=True),
            )
        except BadCode as bad:
            problems.append(bad.problem(row, name or find.label(cell)))
            continue
        samples.append(Sample(id=name, patient_id=f"idrid:{name}", image_path=path, labels=labels, camera=CAMERA, row=row))
    return Dataset(name="idrid", spec=spec, samples=tuple(samples), problems=tuple(problems))


def _base(root: Path) -> Path:
    """The folder that holds part B's labels: at most three folders deep, since archives unpack into one of their own.

    Raises:
        DataError: none, or several.
    """
    level = [root]
    for _ in range(_DEPTH):
        if found := [folder for folder in level if (folder / _LABELS).is_file()]:
            if len(found) > 1:
                raise DataError(f"{root} holds the labels of IDRiD twice ({found[0]}, {found[1]}); name the folder of one")
            return found[0]
        level = [d for folder in level for d in sorted(folder.iterdir()) if d.is_dir() and d.name[0] not in ".@"][:_WIDTH]
    raise DataError(
        f"{root} holds no IDRiD grading labels (looked for {_PART}/{_LABELS}); "
        "give the folder that contains 'B. Disease Grading'"
    )
