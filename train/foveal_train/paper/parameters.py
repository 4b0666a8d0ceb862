"""How many parameters a recipe has, by part, trained and frozen, beside the paper's 187M. Allocates none of them.

Ours, counted on the `base` recipe (`tests/train/paper/test_parameters.py` holds the figures):

| part | parameters | of which trained |
| --- | --- | --- |
| image: ViT-B/16, projection | 86.0M | 14.4M |
| text: Bio_ClinicalBERT without its pooler, projection | 107.9M | 14.4M |
| structured | 0.04M | 0.04M |
| fusion and heads | 8.1M | 8.1M |
| the model, as it is run | 202.0M | 36.9M |
| decoders, in training alone | 13.5M | 13.5M |

The paper's Table VI says 187M. Its two encoders alone, as named in its section III-B, are 85.8M and 107.7M (108.3M with
BERT's pooler): more than the whole it states. No choice of what to count gives 187M, so the figures stand side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from foveal_runtime.study.labels import ICDR
from foveal_train.model.weights import rebuild_model
from foveal_train.training.objective import Objective
from foveal_train.training.recipe import Recipe

PAPER_PARAMETERS = 187_000_000
"""As the paper's Table VI states."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartCount:
    """Parameters of one part."""

    total: int
    trained: int
    """Of which gradients reach; the others stay as pretrained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Parameters of everything a recipe trains."""

    parts: dict[str, PartCount]
    """`image`, `text`, `structured`, `fusion`, and `decoders` where the recipe has any."""

    @property
    def model(self) -> PartCount:
        """What a run holds and a bundle serves: everything but the decoders."""
        kept = [count for name, count in self.parts.items() if name != "decoders"]
        return PartCount(total=sum(c.total for c in kept), trained=sum(c.trained for c in kept))

    def __str__(self) -> str:
        decoders = self.parts["decoders"].total
        extra = f", and {decoders / 1e6:.1f}M of decoders while it trains" if decoders else ""
        return f"{self.model.total / 1e6:.1f}M parameters, {self.model.trained / 1e6:.1f}M of them trained{extra}"


def count(module: nn.Module | None) -> PartCount:
    """Parameters of a module; shared ones count once."""
    parameters = list(module.parameters()) if module is not None else []
    return PartCount(total=sum(p.numel() for p in parameters), trained=sum(p.numel() for p in parameters if p.requires_grad))


def count_objective(objective: Objective) -> ParameterCount:
    """Parameters of a model with the decoders of its objective."""
    parts = {name: count(getattr(objective.model, name)) for name in ("image", "text", "structured", "fusion")}
    decoders = [count(objective.image_decoder), count(objective.text_decoder)]
    parts["decoders"] = PartCount(total=sum(d.total for d in decoders), trained=sum(d.trained for d in decoders))
    return ParameterCount(parts=parts)


def count_recipe(recipe: Recipe) -> ParameterCount:
    """Parameters of a recipe, without weights: only shapes are made."""
    with torch.device("meta"):
        return count_objective(Objective(rebuild_model(recipe.model), recipe, (ICDR,), {}))
