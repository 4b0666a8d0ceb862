"""What a recipe says of the optimiser, its schedule and the machine, as torch's and accelerate's objects. Makes no step."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from foveal_train.training.cpu_speed import has_bf16
from foveal_train.training.objective import Objective
from foveal_train.training.recipe import Recipe, Schedule


def new_optimizer(objective: Objective, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a rate of its own for each backbone and for the rest; what is frozen is left out."""
    config = recipe.optimiser
    model = objective.model
    image, text = set(model.image.backbone.parameters()), set(model.text.bert.parameters())
    rest = set(objective.parameters()) - image - text
    groups: list[dict[str, Any]] = []
    for rate, members in (
        (config.image_learning_rate, image),
        (config.text_learning_rate, text),
        (config.learning_rate, rest),
    ):
        parameters = [p for p in objective.parameters() if p.requires_grad and p in members]
        if parameters:
            groups.append({"params": parameters, "lr": rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=config.fused or None)


def new_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, updates: int) -> torch.optim.lr_scheduler.LRScheduler:
    """The recipe's schedule over `updates` steps of the optimiser."""
    config = recipe.optimiser
    if config.schedule is Schedule.PLATEAU:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    warmup = max(1, round(config.warmup * updates))

    def scale(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, updates - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, scale)


def new_accelerator(recipe: Recipe, *, on_cpu: bool) -> Accelerator:
    """This process's devices, and bfloat16 where the recipe asks for it and the device multiplies it natively."""
    torch.set_float32_matmul_precision("high" if recipe.optimiser.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = recipe.optimiser.tf32
    AcceleratorState._reset_state()  # a sweep's last recipe may have had another precision, which it holds on to
    fast = recipe.optimiser.bf16 and has_bf16(torch.device("cpu" if on_cpu else "cuda"))
    return Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if fast else "no",
        step_scheduler_with_optimizer=False,
        # A batch that shows no text leaves the text encoder without gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
