"""The paper's vision-only baseline: a plain vision transformer that grades photographs (section IV-A3). Measures nothing.

A head for each grading scheme on the backbone's own pooled features, as timm classifies with them; no fusion, no projection.
Shapes: N studies, B rows of a batch, F the backbone's width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveal_runtime.study.labels import GRADES, Head
from foveal_runtime.study.study import Modality
from foveal_train.model.backbones import family_of
from foveal_train.model.encoders import rest_frozen
from foveal_train.model.weights import load_backbone
from foveal_train.paper.fitting import Rows, fit_best
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.augment import augment
from foveal_train.training.losses import grading_loss
from foveal_train.training.recipe import Recipe, Schedule

_BATCH = 32
_PHOTOGRAPH = frozenset({Modality.IMAGE})


class VisionClassifier(nn.Module):
    """A backbone with a linear head for each grading scheme."""

    def __init__(self, backbone: nn.Module, heads: tuple[Head, ...]) -> None:
        """Args:
        backbone: of timm, without a classifier.
        heads: grading schemes.
        """
        super().__init__()
        self.backbone = backbone
        width = int(getattr(backbone, "head_hidden_size", backbone.num_features))  # type: ignore[arg-type]
        self.heads = nn.ModuleDict({head: nn.Linear(width, GRADES) for head in heads})

    def forward(self, pixels_BCHW: Tensor) -> dict[Head, Tensor]:
        """Logits by head."""
        backbone: Any = self.backbone
        pooled_BF = backbone.forward_head(backbone.forward_features(pixels_BCHW), pre_logits=True)
        return {name: head(pooled_BF) for name, head in self.heads.items()}

    def train(self, mode: bool = True) -> VisionClassifier:
        """Set the mode; parts that are frozen whole stay in evaluation mode."""
        super().train(mode)
        rest_frozen(self)
        return self


def build(recipe: Recipe, heads: tuple[Head, ...]) -> VisionClassifier:
    """The classifier of a recipe's backbone, its leading blocks frozen as the recipe says.

    Raises:
        ConfigError: its weights can't be had.
    """
    torch.manual_seed(recipe.seed)
    config = recipe.model.image
    model = VisionClassifier(load_backbone(config, recipe.model.image_spec.side_px), heads)
    family_of(config.backbone).freeze(model.backbone, config.frozen_blocks)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    model: VisionClassifier,
    recipe: Recipe,
    train: StudyArrays,
    validation: StudyArrays,
    *,
    report: Callable[[int], None] | None = None,
) -> int:
    """Train on photographs by the recipe's optimiser, in place; the model holds the epoch that grades best afterwards.

    Args:
        model: see `build`.
        recipe: epochs, batch size, rates, decay, clipping, schedule, early stop, augmentation and seed.
        train: training studies; those without a photograph are left out.
        validation: for schedule, early stop and best epoch; without labels the last epoch is kept.
        report: called with every finished epoch.

    Returns:
        The epoch that was kept.

    Raises:
        CheckFailed: the loss is NaN or infinite.
    """
    config = recipe.optimiser
    rows, held_out = np.flatnonzero(train.rows(Modality.IMAGE)), np.flatnonzero(validation.rows(Modality.IMAGE))
    groups = [
        {"params": [p for p in model.backbone.parameters() if p.requires_grad], "lr": config.image_learning_rate},
        {"params": list(model.heads.parameters()), "lr": config.learning_rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=config.plateau_factor, patience=config.plateau_patience
    )

    def validate() -> float | None:
        found = _mean_loss(model, validation, held_out)
        if found is not None and config.schedule is Schedule.PLATEAU:
            plateau.step(found)
        return found

    return fit_best(
        model,
        optimiser,
        config,
        rows,
        loss=lambda batch: _loss(model, train, batch, recipe),
        validate=validate,
        advice=lambda epoch: f"the loss is not finite in epoch {epoch}; lower optimiser.image_learning_rate",
        report=report,
    )


def _loss(model: VisionClassifier, arrays: StudyArrays, rows: Rows, recipe: Recipe | None) -> Tensor | None:
    """Cross-entropy, the mean over the heads that the batch has labels of; a recipe augments."""
    images = arrays.images(rows)
    changed = images if recipe is None else augment(images, recipe.augmentation)
    pixels = arrays.inputs(rows, images_BCSS=changed, subset=_PHOTOGRAPH).pixels_BCHW
    assert pixels is not None
    device = next(model.parameters()).device
    losses = []
    for head, logits_BG in model(pixels.to(device)).items():
        labels_B = torch.from_numpy(arrays.labels[head][rows]).to(device)
        loss = grading_loss(logits_BG, labels_B, class_weights_G=None, label_smoothing=0.0, ordinal=0.0)
        if loss is not None:
            losses.append(loss)
    return torch.stack(losses).mean() if losses else None


@torch.inference_mode()
def _mean_loss(model: VisionClassifier, arrays: StudyArrays, rows: Rows) -> float | None:
    total, count = 0.0, 0
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        loss = _loss(model, arrays, part, None)
        if loss is not None:
            total, count = total + float(loss) * len(part), count + len(part)
    return total / count if count else None


@torch.inference_mode()
def grades(model: VisionClassifier, arrays: StudyArrays) -> dict[Head, npt.NDArray[np.int64]]:
    """The likeliest grade of every study by head; 0 where there is no photograph."""
    able = np.flatnonzero(arrays.rows(Modality.IMAGE))
    device = next(model.parameters()).device
    found = {name: np.zeros(len(arrays), np.int64) for name in model.heads}
    for start in range(0, len(able), _BATCH):
        rows = able[start : start + _BATCH]
        pixels = arrays.inputs(rows, subset=_PHOTOGRAPH).pixels_BCHW
        assert pixels is not None
        for head, logits_BG in model(pixels.to(device)).items():
            found[head][rows] = logits_BG.argmax(-1).cpu().numpy()
    return found
