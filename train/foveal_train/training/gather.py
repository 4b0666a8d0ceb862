"""Rows of all processes in one tensor, so that every process has every other's negatives. Knows nothing of losses.

Under `torchrun` each process holds B rows of a step of W x B. Shapes: B rows of a process, W processes.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together; 1 without `torchrun`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows_B: Tensor) -> Tensor:
    """Rows of every process, in their order; gradients reach this process's own.

    Every process calls it in the same order with the same shape.
    """
    parts = [torch.empty_like(rows_B) for _ in range(processes())]
    dist.all_gather(parts, rows_B.detach().contiguous())
    # all_gather knows no gradients: this process's own part goes back in as it was.
    parts[dist.get_rank()] = rows_B
    return torch.cat(parts)


def times_processes(loss: Tensor) -> Tensor:
    """A loss over all processes' rows, its gradient scaled for the mean that data parallelism takes.

    Each process has the whole loss but only its own rows' gradient; the sum over processes is the gradient wanted, and the
    mean is a W-th of it.
    """
    count = processes()
    return loss * count - (loss * (count - 1)).detach()
