"""A process that uses the store as `foveal serve` does, to be killed: writes numbered items one upsert at a time, says which
were acknowledged. Run as `python foveal_like.py FOLDER FIRST_NUMBER`; prints `ready PID_OF_POSTGRES`, then a line an item."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from foveal_runtime.store import Archive, Entry, StoreOptions

BATCH = 3


def items_of(number: int) -> list[Entry]:
    """Write `number` as a batch of items, whose vectors and facts all follow from it."""
    vectors = np.random.default_rng(number).normal(size=(BATCH, 256))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Entry(id=f"{number}-{i}", vectors={"image": v.astype(np.float32)}, attributes={"write": str(number)})
        for i, v in enumerate(vectors)
    ]


async def main(folder: Path, first: int) -> None:
    """Open, say so, write until killed."""
    archive = await Archive.open(folder, space_id="a" * 64, options=StoreOptions(maintain=False))
    server = archive.server
    assert server is not None
    sys.stdout.write(f"ready {server.pid}\n")
    sys.stdout.flush()
    number = first
    while True:
        await archive.upsert(items_of(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
