"""A process that uses the store as `foveal serve` does, to be killed: writes numbered items one upsert at a time, says which
were acknowledged. Run as `python foveal_like.py FOLDER FIRST_NUMBER [streams]`; prints `ready PID_OF_POSTGRES`, then a line a
write. With `streams`, a write is one item, and several are under way at once."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from foveal_runtime.store import Archive, Entry, StoreOptions

BATCH = 3
STREAMS = 16


def items_of(number: int) -> list[Entry]:
    """Write `number` as a batch of items, whose vectors and facts all follow from it."""
    vectors = np.random.default_rng(number).normal(size=(BATCH, 256))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Entry(id=f"{number}-{i}", vectors={"image": v.astype(np.float32)}, attributes={"write": str(number)})
        for i, v in enumerate(vectors)
    ]


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _stream(archive: Archive, numbers: Iterator[int]) -> None:
    for number in numbers:
        await archive.upsert_one(items_of(number)[0])
        _say(number)


async def main(folder: Path, first: int, *, streams: bool) -> None:
    """Open, say so, write until killed."""
    archive = await Archive.open(folder, space_id="a" * 64, options=StoreOptions(maintain=False))
    server = archive.server
    assert server is not None
    _say(f"ready {server.pid}")
    numbers = itertools.count(first)
    if streams:
        await asyncio.gather(*(_stream(archive, numbers) for _ in range(STREAMS)))
    for number in numbers:
        await archive.upsert(items_of(number))
        _say(number)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), streams="streams" in sys.argv[3:]))
