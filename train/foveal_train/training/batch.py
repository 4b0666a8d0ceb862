"""One batch of a training, and its losses as numbers. Learns nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foveal_runtime.errors import CheckFailed
from foveal_train.model.model import ModelInputs
from foveal_train.training.arrays import StudyArrays, as_images, standardise_batch
from foveal_train.training.augment import augment_with
from foveal_train.training.distillation import SoftTargets
from foveal_train.training.feeder import RawBatch
from foveal_train.training.frozen import FrozenStates
from foveal_train.training.lesions import LesionMaps
from foveal_train.training.objective import Batch, Losses, drop_modalities
from foveal_train.training.recipe import Recipe


def make_batch(
    raw: RawBatch,
    arrays: StudyArrays,
    recipe: Recipe,
    device: torch.device,
    states: FrozenStates | None = None,
    *,
    training: bool,
    targets: SoftTargets | None = None,
    lesions: LesionMaps | None = None,
) -> Batch:
    """A batch on its device: photographs go there as bytes, and are augmented and standardised there.

    Args:
        raw: its rows as they lie on the host.
        arrays: the studies that it is of.
        recipe: augmentation and modality dropout.
        device: of the model.
        states: outputs of frozen blocks, in place of what they are made from.
        training: whether they are augmented and modalities dropped.
        targets: teachers' answers on those studies.
        lesions: maps of some of them.
    """
    pixels = None
    seen = None if lesions is None else lesions.batch(raw.rows)
    seen = None if seen is None else seen.to(device)
    if raw.squares_BSSC is not None:
        images = as_images(raw.squares_BSSC.to(device, non_blocking=True))
        if training and not recipe.augmentation.is_off:
            images, seen = augment_with(images, recipe.augmentation, seen)
        pixels = standardise_batch(images, arrays.image_spec)
    inputs = ModelInputs(
        present_BM=raw.present_BM,
        pixels_BCHW=pixels,
        input_ids_BT=raw.input_ids_BT,
        attention_mask_BT=raw.attention_mask_BT,
        features_BF=raw.features_BF,
        host_BM=raw.present_BM.numpy(),
    ).to(device)
    if states is not None:
        inputs = states.given_to(inputs, arrays, raw.rows)
    dropped = training and recipe.modality_dropout
    shown = drop_modalities(raw.present_BM, recipe.modality_dropout) if dropped else None
    return Batch(
        inputs=inputs,
        labels=raw.labels,
        note_groups_B=raw.note_groups_B,
        record_groups_B=raw.record_groups_B,
        shown_BM=None if shown is None else shown.to(device, non_blocking=True),
        targets=None if targets is None else targets.batch(raw.rows, (raw.present_BM if shown is None else shown).numpy()),
        lesions=seen,
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


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenStep:
    """The losses of a step as numbers."""

    step: int
    values: dict[str, float]
    weights: dict[str, float]


class LossReader:
    """Losses as numbers: at once on a processor; a step later on a GPU, which would stand still while it is asked."""

    def __init__(self, device: torch.device) -> None:
        """Args:
        device: of the model.
        """
        self._later = device.type == "cuda"
        self._copied: tuple[int, list[str], list[str], torch.Tensor, Any] | None = None

    def read(self, losses: Losses, step: int) -> list[SeenStep]:
        """Take the losses of a step; those that are numbers by now."""
        names, weighed = ["loss", *losses.parts], list(losses.weights)
        numbers = torch.stack(
            [each.detach().float() for each in (losses.total, *losses.parts.values(), *losses.weights.values())]
        )
        if not self._later:
            return [_seen(step, names, weighed, numbers)]
        before = self.rest()
        host = torch.empty(numbers.shape, pin_memory=True)
        host.copy_(numbers, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._copied = step, names, weighed, host, copied
        return before

    def rest(self) -> list[SeenStep]:
        """The last step's, which nobody has read yet."""
        if self._copied is None:
            return []
        step, names, weighed, host, copied = self._copied
        copied.synchronize()
        self._copied = None
        return [_seen(step, names, weighed, host)]


def _seen(step: int, names: list[str], weighed: list[str], numbers: torch.Tensor) -> SeenStep:
    found = numbers.tolist()
    return SeenStep(
        step=step,
        values=dict(zip(names, found[: len(names)], strict=True)),
        weights=dict(zip(weighed, found[len(names) :], strict=True)),
    )


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
