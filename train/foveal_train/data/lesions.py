"""Lesion masks that belong to photographs of a data set: which lesion lies where. Reads no photograph, changes no label.

A folder with a folder of masks for each kind of lesion, PNG, named as their photograph, a pixel set where the lesion is; a mask
that is not there says that the lesion is not (IDRiD, Porwal et al. 2018). `same_as.csv`, where it is there, names the
photograph under which a data set knows each of them: its second column in place of its first.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from foveal_runtime.errors import DataError

KINDS = ("microaneurysms", "haemorrhages", "hard_exudates", "soft_exudates")
TWINS_FILE = "same_as.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionMasks:
    """The masks of a folder."""

    folder: Path
    names: dict[str, str]
    """Name of the masks by the id of the photograph in its data set."""

    def places(self, sample_id: str, kind: str) -> npt.NDArray[np.float64]:
        """Where a lesion is: centres of the mask's set pixels as shares of the photograph's width and height, `[L, 2]`.

        Raises:
            DataError: the mask can't be read.
        """
        path = self.folder / kind / f"{self.names[sample_id]}.png"
        if not path.is_file():
            return np.zeros((0, 2))
        try:
            with Image.open(path) as image:
                set_HW = np.asarray(image.convert("L")) > 0
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"lesion mask {path} can't be read ({type(error).__name__}); restore it, or remove it") from None
        rows, columns = np.nonzero(set_HW)
        return np.stack([(columns + 0.5) / set_HW.shape[1], (rows + 0.5) / set_HW.shape[0]], axis=1)


def read_masks(folder: Path) -> LesionMasks:
    """Find the masks of a folder.

    Raises:
        DataError: there are none, or `same_as.csv` can't be read.
    """
    found = {path.stem for kind in KINDS for path in (folder / kind).glob("*.png")}
    if not found:
        raise DataError(f"{folder} holds no lesion masks; it needs folders of PNG files named {', '.join(KINDS)}")
    twins = folder / TWINS_FILE
    if not twins.is_file():
        return LesionMasks(folder=folder, names={name: name for name in found})
    try:
        rows = list(csv.reader(twins.read_text(encoding="utf-8").splitlines()))[1:]
        names = {other.strip(): own.strip() for own, other, *_ in rows if other.strip() and own.strip() in found}
    except (OSError, ValueError, csv.Error):
        raise DataError(f"{twins} can't be read; it needs two columns, a mask's name and its photograph's") from None
    return LesionMasks(folder=folder, names=names)
