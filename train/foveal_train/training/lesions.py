"""Lesions as a target of the photograph's tokens: whether each cell of the map shows one of each kind. Learns nothing.

Shapes: B studies, K kinds of lesion, R cells a side of a stored map, T tokens, D = 256.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.imaging import ImageSpec, framed, photograph
from foveal_train.data.lesions import KINDS, LesionMasks, read_masks
from foveal_train.data.sample import Sample

LESIONS_LOSS = "lesions"
_FINER = 4
"""Pixels of a square that are one cell of its stored map: turned and zoomed, and then pooled to the model's own cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LesionMaps:
    """Maps of those training studies that have masks."""

    places: dict[int, int]
    """Place in `maps` by the study's row."""
    maps_LKRR: npt.NDArray[np.uint8]
    """1 where a lesion of a kind reaches into the cell."""

    def batch(self, rows: npt.NDArray[np.int64]) -> BatchLesions | None:
        """Maps of those rows of a batch that have one; None when none has."""
        here = np.asarray([place for place, row in enumerate(rows.tolist()) if row in self.places], np.int64)
        if not here.size:
            return None
        chosen = [self.places[row] for row in rows[here].tolist()]
        return BatchLesions(rows=torch.from_numpy(here), maps_BKRR=torch.from_numpy(self.maps_LKRR[chosen]).float())


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLesions:
    """Maps of some rows of a batch."""

    rows: Tensor
    maps_BKRR: Tensor

    def to(self, device: torch.device) -> BatchLesions:
        """The same on another device."""
        return BatchLesions(rows=self.rows.to(device), maps_BKRR=self.maps_BKRR.to(device))


def lesion_maps(samples: Sequence[Sample], spec: ImageSpec, folder: Path) -> LesionMaps:
    """Maps of the training studies.

    Args:
        samples: in the order of their rows.
        spec: how the model takes photographs; masks are framed alike.
        folder: of the masks.

    Raises:
        DataError: masks or a photograph can't be read.
        ConfigError: no training study has masks.
    """
    masks = read_masks(folder)
    rows = [row for row, sample in enumerate(samples) if sample.id in masks.names and sample.image_path is not None]
    if not rows:
        raise ConfigError(f"no training study has lesion masks in {folder}; set losses.lesions=0, or name other masks")
    maps = np.stack([_map(samples[row], spec, masks) for row in rows])
    return LesionMaps(places={row: place for place, row in enumerate(rows)}, maps_LKRR=maps)


def _map(sample: Sample, spec: ImageSpec, masks: LesionMasks) -> npt.NDArray[np.uint8]:
    data = sample.image_bytes()
    assert data is not None
    _, (left, top, right, bottom) = framed(photograph(data, spec), spec)
    side = max(1, spec.side_px // _FINER)
    map_KRR = np.zeros((len(KINDS), side, side), np.uint8)
    for number, kind in enumerate(KINDS):
        places_L2 = (masks.places(sample.id, kind) - (left, top)) / (right - left, bottom - top)
        inside_L2 = places_L2[((places_L2 >= 0) & (places_L2 < 1)).all(axis=1)]
        columns, rows = (inside_L2 * side).astype(np.int64).T
        map_KRR[number, rows, columns] = 1
    return map_KRR


def lesion_loss(logits_BTK: Tensor, maps_BKRR: Tensor) -> Tensor:
    """Mean binary cross-entropy over cells and kinds.

    Args:
        logits_BTK: of the tokens behind CLS, row by row of a square map.
        maps_BKRR: as they were turned and zoomed with the photographs, so between 0 and 1.

    Raises:
        ConfigError: the tokens are no square map.
    """
    side = math.isqrt(logits_BTK.shape[1])
    if side * side != logits_BTK.shape[1]:
        raise ConfigError(f"{logits_BTK.shape[1]} tokens of a photograph are no square map; set losses.lesions=0")
    cells_BTK = F.adaptive_max_pool2d(maps_BKRR, side).flatten(2).transpose(1, 2)
    return F.binary_cross_entropy_with_logits(logits_BTK.float(), cells_BTK)
