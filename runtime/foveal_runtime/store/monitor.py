"""Keep an eye on an archive's approximate search: its recall, measured now and then. Decides nothing."""

from __future__ import annotations

import random

from foveal_runtime.store.archive import Archive
from foveal_runtime.store.recall import check_recall


async def measure_recall(archive: Archive, *, sample: int) -> None:
    """Compare the index with exact search on a few stored vectors of each indexed kind; `Archive.stats` tells what was found.

    Args:
        archive: an open archive.
        sample: stored vectors of each kind, another sample each time: over the days all of the collection is looked at.
    """
    found = {}
    for kind in await archive.indexed_kinds():
        recall = await check_recall(archive, kind=kind, sample=sample, seed=random.getrandbits(31))
        if recall is not None:
            found[kind] = recall.recall
    archive.note_recall(found)
