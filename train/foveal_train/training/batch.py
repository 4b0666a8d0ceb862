"""One batch of a training, and its losses as numbers. Learns nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal_runtime.errors import CheckFailed
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.augment import augment
from foveal_train.training.frozen import FrozenStates
from foveal_train.training.objective import Batch, Losses, drop_modalities
from foveal_train.training.recipe import Recipe


def make_batch(
    arrays: StudyArrays,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    recipe: Recipe,
    *,
    training: bool,
    states: FrozenStates | None = None,
) -> Batch:
    """Some rows of the studies as the model learns from them, or as it is validated on.

    Args:
        arrays: the studies.
        rows: which.
        recipe: augmentation and modality dropout.
        training: whether they are augmented and modalities dropped.
        states: outputs of frozen blocks, in place of what they are made from.
    """
    images = arrays.images(rows) if arrays.present_NM[rows, 0].any() else None
    if images is not None and training and not recipe.augmentation.is_off:
        images = augment(images, recipe.augmentation)
    inputs = arrays.inputs(rows, images_BCSS=images)
    if states is not None:
        inputs = states.given_to(inputs, arrays, rows)
    shown = drop_modalities(inputs.present_BM, recipe.modality_dropout) if training and recipe.modality_dropout else None
    return Batch(
        inputs=inputs,
        labels={head: torch.from_numpy(labels[rows]) for head, labels in arrays.labels.items()},
        note_groups_B=torch.from_numpy(arrays.note_groups_N[rows]),
        record_groups_B=torch.from_numpy(arrays.record_groups(rows)),
        shown_BM=shown,
    )


class Means:
    """Running means of named numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, float], count: int = 1) -> None:
        """Add the means of `count` more."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * count
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        """By name, of those that have been added."""
        return {name: total / self._counts[name] for name, total in self._sums.items()}


def loss_values(losses: Losses) -> dict[str, float]:
    """The total and its parts as numbers."""
    return {"loss": float(losses.total.detach()), **{name: float(part.detach()) for name, part in losses.parts.items()}}


def check_finite(values: dict[str, float], where: str, out: Path | None) -> None:
    """Refuse losses that are no numbers any more.

    Raises:
        CheckFailed: naming the loss and the place.
    """
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        kept = f"; the last good checkpoint stays in {out}" if out is not None else ""
        raise CheckFailed(
            f"loss {', '.join(bad)} is not finite in {where}{kept}; "
            "lower optimiser.learning_rate or check that batch's labels and photographs"
        )
