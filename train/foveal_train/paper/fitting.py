"""The epochs of a baseline: learn from batches, keep the epoch that validates best, stop early. Knows no model and no loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveal_runtime.errors import CheckFailed
from foveal_train.training.recipe import OptimiserConfig

Rows = npt.NDArray[np.int64]


def fit_best(
    model: nn.Module | Any,
    optimiser: torch.optim.Optimizer,
    config: OptimiserConfig,
    rows: Rows,
    *,
    loss: Callable[[Rows], Tensor | None],
    validate: Callable[[], float | None],
    advice: Callable[[int], str],
    least: int = 1,
    stepped: Callable[[], None] = lambda: None,
    report: Callable[[int], None] | None = None,
) -> int:
    """Train in place; the model holds the best epoch afterwards, in evaluation mode.

    Args:
        model: a module, or one of transformers'.
        optimiser: of its parameters.
        config: epochs, batch size, clipping and early stop.
        rows: of the training studies.
        loss: of a batch; None where it has nothing to learn from.
        validate: the validation loss, called in evaluation mode after every epoch; None keeps the last epoch.
        advice: what to say of a loss that is not finite, by epoch.
        least: rows of a batch that is learnt from.
        stepped: called after every step.
        report: called with every finished epoch.

    Returns:
        The epoch that was kept.

    Raises:
        CheckFailed: the loss is NaN or infinite.
    """
    best: tuple[float, int, dict[str, Tensor]] | None = None
    for epoch in range(1, config.epochs + 1):
        model.train()
        order = rows[torch.randperm(len(rows)).numpy()]
        for start in range(0, len(order) - least + 1, config.batch_size):
            batch_loss = loss(order[start : start + config.batch_size])
            if batch_loss is None:
                continue
            if not math.isfinite(float(batch_loss.detach())):
                raise CheckFailed(advice(epoch))
            optimiser.zero_grad()
            batch_loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimiser.step()
            stepped()
        model.eval()
        if report is not None:
            report(epoch)
        found = validate()
        if found is None:
            continue
        if best is None or found < best[0]:
            best = found, epoch, copy.deepcopy(model.state_dict())
        elif config.early_stop_patience and epoch - best[1] >= config.early_stop_patience:
            break
    if best is None:
        return config.epochs
    model.load_state_dict(best[2])
    return best[1]
