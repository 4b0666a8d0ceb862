"""What a sweep is about to do: a sentence a row with its weights and its time, before the first of them starts. Trains nothing.

Times are at most: training may stop early. A step is timed on random weights and inputs, on which its time does not depend.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import GRADES, ICDR, SCHEMES, SDRG
from foveal_runtime.study.study import Modality
from foveal_train.model.available import hub_has, missing_weights
from foveal_train.model.model import ModelInputs
from foveal_train.model.weights import rebuild_model
from foveal_train.paper.parameters import count_recipe
from foveal_train.paper.rows import device
from foveal_train.paper.stored import Request, Stored
from foveal_train.training.objective import Batch, Objective
from foveal_train.training.optimiser import new_optimizer
from foveal_train.training.recipe import Method, Recipe

_NOTE_TOKENS = 32
"""Of BRSET's notes; a longer one takes longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be done for one row."""

    request: Request
    folder: Path
    """rows/NAME of the sweep."""
    stored: Stored
    measure_unseen: bool
    """Whether its figures on the unseen data are asked for and not there."""

    @property
    def is_done(self) -> bool:
        """Whether its row stands as it is."""
        return self.stored.row is not None and not self.measure_unseen


def check(plans: list[Plan]) -> None:
    """Refuse a folder that holds rows or runs of other recipes or data, before anything runs.

    Raises:
        ConfigError: naming each of them, and how it differs.
    """
    others = [f"{plan.folder} ({'; '.join(plan.stored.differences[:3])})" for plan in plans if plan.stored.differences]
    if others:
        raise ConfigError(
            f"{len(others)} of {len(plans)} rows are of another recipe or data: {', '.join(others)}; name another folder with "
            "--out, or remove them"
        )


def sentence(plan: Plan, studies: int) -> str:
    """What a row will take.

    Args:
        plan: of the row.
        studies: of the training split.
    """
    recipe, stored = plan.request.recipe, plan.stored
    name = recipe.name
    if plan.is_done:
        return f"{name}: there already"
    if stored.row is not None:
        return f"{name}: there already, measured on the unseen data"
    if recipe.method is Method.MAJORITY:
        return f"{name}: seconds"
    lack = "".join(f"; LACKS {why}" for why in _missing(recipe))
    if stored.has_run:
        return f"{name}: trained already, measured{lack}"
    if recipe.method is Method.CLIP_ZERO_SHOT:
        return f"{name}: embeds the held-out studies{lack}"
    config = recipe.optimiser
    steps = max(1, studies // config.batch_size)
    work = f"at most {config.epochs} epochs of {steps} steps"
    verb = "goes on" if stored.has_begun else "trains"
    if recipe.method is not Method.MULTIMODAL:
        return f"{name}: {verb}, {work}{lack}"
    hours = step_seconds(recipe) * steps * config.epochs / 3600
    return f"{name}: {verb}, {work}, about {_duration(hours)}, {count_recipe(recipe)}{lack}"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(60 * hours))} min"


def _missing(recipe: Recipe) -> list[str]:
    if recipe.method in (Method.MULTIMODAL, Method.VISION_ONLY):
        found = missing_weights(recipe.model)
        return found if recipe.method is Method.MULTIMODAL else [why for why in found if why.startswith("image")]
    source = recipe.clip.weights
    if source == "hub":
        return [] if hub_has(recipe.clip.model) else [f"CLIP: the hub can't be reached for {recipe.clip.model}"]
    return [] if (Path(source) / "config.json").is_file() else [f"CLIP: {source} holds no config.json"]


def step_seconds(recipe: Recipe) -> float:
    """Seconds of a training step of the recipe's batch on this machine: the second of two, with random weights."""
    with torch.random.fork_rng():
        objective = Objective(rebuild_model(recipe.model), recipe, (ICDR, SDRG), {}).to(device()).train()
        optimiser = new_optimizer(objective, recipe)
        batch = _batch(recipe).to(device())
        taken = 0.0
        for _ in range(2):
            start = time.perf_counter()
            objective(batch).total.backward()
            optimiser.step()
            optimiser.zero_grad()
            if device().type == "cuda":
                torch.cuda.synchronize()
            taken = time.perf_counter() - start
    return taken


def _batch(recipe: Recipe) -> Batch:
    rows, side = recipe.optimiser.batch_size, recipe.model.image_spec.side_px
    shown = recipe.modalities
    tokens = min(_NOTE_TOKENS, recipe.model.text_spec.max_tokens)
    ids_BT = torch.randint(1, recipe.model.text.shape.vocab_size, (rows, tokens))
    inputs = ModelInputs(
        present_BM=torch.tensor([[modality in shown for modality in Modality]] * rows),
        pixels_BCHW=torch.randn(rows, 3, side, side) if Modality.IMAGE in shown else None,
        input_ids_BT=ids_BT if Modality.TEXT in shown else None,
        attention_mask_BT=torch.ones_like(ids_BT) if Modality.TEXT in shown else None,
        features_BF=torch.randn(rows, len(recipe.model.record_spec.features)) if Modality.STRUCTURED in shown else None,
    )
    labels = {head: torch.arange(rows) % GRADES for head in SCHEMES}
    return Batch(inputs=inputs, labels=labels, note_groups_B=torch.arange(rows))
