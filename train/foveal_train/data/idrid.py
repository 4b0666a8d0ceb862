"""IDRiD (Porwal et al. 2018), part B, training set: grade and macular-edema risk; no notes, no records, no patients.

Every image counts as its own patient, since the data set names none.
"""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.codes import BadCode, integer_code
from foveal_runtime.study.table import read_table, require_columns
from foveal_train.data.sample import Dataset, Labels, Problem, Sample

_PART = "B. Disease Grading"
_IMAGES = Path("1. Original Images") / "a. Training Set"
_LABELS = Path("2. Groundtruths") / "a. IDRiD_Disease Grading_Training Labels.csv"
_COLUMNS: dict[str, tuple[str, ...]] = {
    "Image name": (),
    "Retinopathy grade": (),
    "Risk of macular edema": (),
}
CAMERA = "Kowa VX-10 alpha"


def read(root: Path, spec: str) -> Dataset:
    """Read the training set below `root`, which is the data set's folder or its part B.

    Raises:
        DataError: the layout or a column is missing.
    """
    base = next((b for b in (root, root / _PART) if (b / _LABELS).is_file()), None)
    if base is None:
        raise DataError(
            f"{root} holds no IDRiD grading labels (looked for {_PART}/{_LABELS}); "
            "give the folder that contains 'B. Disease Grading'"
        )
    table = read_table(base / _LABELS)
    column = require_columns(table, _COLUMNS)
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for row, cells in table.rows:
        name = cells[column["Image name"]]
        path = base / _IMAGES / f"{name}.jpg"
        try:
            if not name:
                raise BadCode("image name is empty")
            if name in seen:
                raise BadCode("image occurs in an earlier row")
            seen.add(name)
            labels = Labels(
                icdr=integer_code("Retinopathy grade", cells[column["Retinopathy grade"]], range(5)),
                macular_edema=integer_code("Risk of macular edema", cells[column["Risk of macular edema"]], range(3)),
            )
            if not path.is_file():
                raise BadCode(f"image {path.name} is missing")
        except BadCode as bad:
            problems.append(Problem(row=row, id=name, what=str(bad)))
            continue
        samples.append(Sample(id=name, patient_id=f"idrid:{name}", image_path=path, labels=labels, camera=CAMERA, row=row))
    return Dataset(name="idrid", spec=spec, samples=tuple(samples), problems=tuple(problems))
