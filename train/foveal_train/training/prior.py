"""Take the shift of prevalence that class weights and balanced draws bring out of trained heads again. Trains nothing.

Cross-entropy with weight w of a grade, or with that grade drawn w times as often, teaches probabilities in proportion to w
times the true ones. Adding log(1 / w) to each logit gives those of the data's own prevalence (Elkan 2001; Menon et al. 2021,
logit adjustment). It lies in the biases of the heads, so that whoever reads logits, exported or not, reads corrected ones.
Shapes: G grades.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foveal_runtime.study.labels import Head
from foveal_train.model.model import MultimodalModel
from foveal_train.training.recipe import Recipe

_UNSEEN = 0.5
"""Studies that a grade without any counts as."""


def prior_shift(counts_G: Tensor, exponent: float) -> Tensor:
    """What to add to the logits of a head whose grades were weighted by (1 / frequency) ** `exponent`, largest entry 0.

    Args:
        counts_G: training studies of each grade.
        exponent: 0 was unweighted.
    """
    log_share_G = torch.log(counts_G.double().clamp(min=_UNSEEN))
    return (exponent * (log_share_G - log_share_G.max())).float()


def prior_shifts(recipe: Recipe, counts: Mapping[Head, Tensor]) -> dict[Head, Tensor]:
    """What training leaves to be added to the logits of each trained head.

    Args:
        recipe: of the training; `losses.prior_correction` false leaves logits as they are.
        counts: training studies of each grade by trained head; draws are balanced by the first.
    """
    if not recipe.losses.prior_correction:
        return {head: torch.zeros(len(counts_G)) for head, counts_G in counts.items()}
    balanced = recipe.optimiser.balanced_sampling
    return {
        head: prior_shift(counts_G, recipe.losses.class_balance + (balanced if place == 0 else 0.0))
        for place, (head, counts_G) in enumerate(counts.items())
    }


@torch.no_grad()
def correct_prior(model: MultimodalModel, recipe: Recipe, counts: Mapping[Head, Tensor]) -> None:
    """Shift the biases of the heads of a model as it was trained, in place. Arguments are those of `prior_shifts`."""
    for head, shift_G in prior_shifts(recipe, counts).items():
        bias = model.fusion.head(head).bias
        bias.add_(shift_G.to(bias.device))
