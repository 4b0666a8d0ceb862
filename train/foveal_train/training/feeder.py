"""Batches prepared ahead of the step by threads: rows gathered, notes padded, all in pinned memory where a GPU waits for it.

Draws nothing: augmentation and dropout are drawn when the batch is used, so that workers change no result.
Shapes: B rows of a batch, S the profile's side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal_runtime.study.labels import Head
from foveal_train.training.arrays import StudyArrays

WORKERS = 2
AHEAD = 3
"""Batches that are ready or being prepared."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawBatch:
    """Rows of a batch as they lie on the host; what no row has is None."""

    rows: Rows
    present_BM: Tensor
    squares_BSSC: Tensor | None
    """uint8: a quarter of the bytes of what the model takes."""
    input_ids_BT: Tensor | None
    attention_mask_BT: Tensor | None
    features_BF: Tensor | None
    labels: dict[Head, Tensor]
    note_groups_B: Tensor
    record_groups_B: Tensor

    def pinned(self) -> RawBatch:
        """The same in page-locked memory, from which a GPU copies while the host goes on."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        moved = ("present_BM", "squares_BSSC", "input_ids_BT", "attention_mask_BT", "features_BF")
        return RawBatch(
            **{name: each.pin_memory() if name in moved and each is not None else each for name, each in given.items()}
        )


def raw_batch(arrays: StudyArrays, rows: Rows) -> RawBatch:
    """Gather the rows of a batch."""
    present_BM = arrays.present_NM[rows]
    squares = ids = mask = features = None
    if present_BM[:, 0].any():
        squares = arrays.squares(rows)
    if present_BM[:, 1].any():
        ids, mask = arrays.padded_notes(rows)
    if present_BM[:, 2].any():
        features = torch.from_numpy(arrays.features_NF[rows])
    return RawBatch(
        rows=rows,
        present_BM=torch.from_numpy(present_BM),
        squares_BSSC=squares,
        input_ids_BT=ids,
        attention_mask_BT=mask,
        features_BF=features,
        labels={head: torch.from_numpy(labels_N[rows]) for head, labels_N in arrays.labels.items()},
        note_groups_B=torch.from_numpy(arrays.note_groups_N[rows]),
        record_groups_B=torch.from_numpy(arrays.record_groups(rows)),
    )


def fed(arrays: StudyArrays, batches: Iterable[Rows], *, pin: bool) -> Iterator[RawBatch]:
    """Batches in order, each prepared while those before it are learnt from.

    Args:
        arrays: the studies.
        batches: rows of each.
        pin: into page-locked memory; for a GPU.
    """

    def prepare(rows: Rows) -> RawBatch:
        found = raw_batch(arrays, rows)
        return found.pinned() if pin else found

    waiting: deque[Future[RawBatch]] = deque()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="foveal-batch") as pool:
        for rows in batches:
            waiting.append(pool.submit(prepare, rows))
            if len(waiting) >= AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
