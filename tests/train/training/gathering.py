"""Run by torchrun in two processes: whether gathered negatives give the loss and gradient of one process with all rows.

Prints one JSON document from the first process.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F

from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality
from foveal_train.model.weights import build_model
from foveal_train.training.losses import contrastive_loss
from foveal_train.training.objective import Objective
from foveal_train.training.recipe_file import load_recipe

ROWS = 4


def _measure(present_RM: torch.Tensor, grouped: bool) -> dict[str, float]:
    """Largest gradient difference, and both losses, for two processes of four rows."""
    rank = dist.get_rank()
    recipe = load_recipe("tiny", (f"losses.identical_notes_are_positives={str(grouped).lower()}", "image_spec.side_px=32"))
    objective = Objective(build_model(recipe.model, seed=0).model, recipe, (ICDR,), {}).train()
    torch.manual_seed(1)
    weight = torch.randn(256, 8, requires_grad=True)
    inputs = {modality: torch.randn(2 * ROWS, 8) for modality in (Modality.IMAGE, Modality.TEXT)}
    groups = torch.tensor([0, 1, 1, 2, 2, 3, 0, 4])
    mine = slice(rank * ROWS, (rank + 1) * ROWS)
    order = list(Modality)
    vectors = {
        m: F.normalize(x[mine] @ weight.T, dim=-1) for m, x in inputs.items() if bool(present_RM[mine, order.index(m)].any())
    }
    loss = objective._alignment(vectors, present_RM[mine], groups[mine])["image_text"]
    (gradient,) = torch.autograd.grad(loss, weight, allow_unused=True) if loss.requires_grad else (None,)
    gradient = torch.zeros_like(weight) if gradient is None else gradient
    dist.all_reduce(gradient)
    gradient /= dist.get_world_size()  # as data parallelism does
    both = present_RM[:, 0] & present_RM[:, 1]
    image, text = (F.normalize(x @ weight.T, dim=-1)[both] for x in inputs.values())
    alone = contrastive_loss(image, text, groups[both] if grouped else torch.arange(int(both.sum())), temperature=0.07)
    assert alone is not None
    (expected,) = torch.autograd.grad(alone, weight)
    difference = float((gradient - expected).abs().max() / expected.abs().max())
    return {"gradient": difference, "loss": loss.item(), "alone": alone.item()}


def main() -> None:
    """Measure every case."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    everything = torch.ones(2 * ROWS, 3, dtype=torch.bool)
    some = everything.clone()
    some[1, 1] = some[6, 0] = False
    lonely = everything.clone()
    lonely[ROWS:, 1] = False  # the second process has no note at all
    cases = {
        "everything": _measure(everything, grouped=False),
        "grouped": _measure(everything, grouped=True),
        "some": _measure(some, grouped=True),
        "lonely": _measure(lonely, grouped=False),
    }
    if dist.get_rank() == 0:
        sys.stdout.write(json.dumps(cases))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
