"""Which studies an epoch shows, and in which order: all once, or drawn so that rare grades come more often. Decodes nothing.

Every draw follows from (seed, epoch), so that processes that train together agree and a resumed run goes on as it would have.
Shapes: N studies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal_runtime.study.labels import MISSING, Head

Rows = npt.NDArray[np.int64]


def class_counts(labels_N: Rows, classes: int) -> Tensor:
    """Labelled studies of each class."""
    return torch.from_numpy(np.bincount(labels_N[labels_N != MISSING], minlength=classes))


def head_counts(
    labels: Mapping[Head, Rows], classes: Mapping[Head, Sequence[str]], heads: Sequence[Head]
) -> dict[Head, Tensor]:
    """`class_counts` of some heads."""
    return {head: class_counts(labels[head], len(classes[head])) for head in heads}


def epoch_dice(seed: int, epoch: int) -> torch.Generator:
    """What an epoch draws its studies with: the same in every process, whatever each has drawn so far."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def draw_order(weights_N: Tensor | None, count: int, dice: torch.Generator) -> Rows:
    """The studies of an epoch: all in random order, or as many drawn by weight with replacement."""
    if weights_N is None:
        return np.asarray(torch.randperm(count, generator=dice).numpy())
    return np.asarray(torch.multinomial(weights_N, count, replacement=True, generator=dice).numpy())


def sampling_weights(labels_N: Rows, exponent: float) -> Tensor | None:
    """How often each study is drawn: (1 / frequency of its grade) ** exponent; None for 0.

    A study without a grade is drawn as often as the mean graded one.
    """
    known_N = labels_N != MISSING
    if exponent == 0 or not known_N.any():
        return None
    counts = np.bincount(labels_N[known_N])
    weights_N = np.ones(len(labels_N))
    weights_N[known_N] = (1 / counts[labels_N[known_N]]) ** exponent
    weights_N[known_N] /= weights_N[known_N].mean()
    return torch.from_numpy(weights_N)


def steps_of(rows: Rows, size: int, *, whole: bool) -> Iterator[Rows]:
    """Batches of `size`; with `whole` a short last batch is left out (batch statistics and negatives need company)."""
    end = len(rows) - len(rows) % size if whole and len(rows) >= size else len(rows)
    for start in range(0, end, size):
        yield rows[start : start + size]
