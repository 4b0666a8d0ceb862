"""Re-embed a collection's photographs from their sources into another space. The engine is a function given by the caller."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foveal_runtime.errors import CheckFailed
from foveal_runtime.store import switch
from foveal_runtime.store.archive import Archive
from foveal_runtime.store.entry import KINDS, Entry, Float32
from foveal_runtime.store.patients import PatientRefs

Embed = Callable[[Sequence[bytes]], list[Float32 | None]]
"""Photographs to unit vectors of kind `image`; None for one that can't be embedded."""
_BATCH = 32
_MAX_SOURCE_BYTES = 64 << 20
_PASSES = 5
"""Writes that come in while a pass runs need another; a server that writes faster than this re-embeds must stop first."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did."""

    embedded: int
    left_behind: int
    """Vectors without a source at hand: notes and records are never stored, photographs may have moved."""
    old_collection: str
    """Where the old vectors are now."""


async def migrate(
    archive: Archive,
    *,
    space_id: str,
    dim: int,
    precision: str,
    embed: Embed,
    images: Path | None = None,
    patients: PatientRefs | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Migration:
    """Fill a shadow collection with vectors of the new space, then swap. Interrupted, it goes on where it stopped.

    Args:
        archive: the collection as it is, opened by `Archive.inspect`.
        space_id: the new bundle's space.
        dim: its dimension.
        precision: its precision, noted with every vector.
        embed: the new bundle's engine; called in a thread.
        images: folder that relative sources start from; None is the working folder.
        patients: what keys patient references, so that sources in which one was hidden are found.
        progress: told how many photographs were embedded since the last call.

    Raises:
        PreconditionError: the collection is of that space already.
        CheckFailed: nothing could be embedded, or writes kept coming in.
    """
    database, old = archive.database, archive.collection
    new = await database.as_owner(lambda c: switch.shadow_of(c, old, space_id=space_id, dim=dim))
    target = archive.beside(new)
    left_behind: set[tuple[str, str]] = set()
    embedded = 0
    for _ in range(_PASSES):
        for kind in KINDS:
            gap = await database.as_owner(lambda c, kind=kind: switch.difference(c, old, new, kind))  # type: ignore[misc]
            for i in range(0, len(gap.gone), 1000):
                await target.delete(gap.gone[i : i + 1000], kind=kind)
            todo = [entry_id for entry_id in gap.missing if (kind, entry_id) not in left_behind]
            for i in range(0, len(todo), _BATCH):
                batch = await archive.get(todo[i : i + _BATCH], kind=kind)
                made = await asyncio.to_thread(_embed_batch, batch, kind, embed, precision, images, patients)
                await target.upsert(made)
                left_behind.update((kind, entry.id) for entry in batch if entry.id not in {m.id for m in made})
                embedded += len(made)
                progress(len(made))
        if not await target.count():
            raise CheckFailed(
                f"none of the {len(left_behind)} vectors of collection {old.name!r} has its photograph at hand; give the folder"
                " that their sources are relative to by --images, or index the photographs anew into another collection"
            )
        await target.build_indexes()
        name = await database.as_owner(lambda c: switch.promote(c, old, new, left_behind=left_behind))
        if name is not None:
            return Migration(embedded, len(left_behind), name)
    raise CheckFailed(
        f"collection {old.name!r} was written to during each of {_PASSES} passes; stop what writes to it, then run this again"
    )


def _embed_batch(
    entries: Sequence[Entry], kind: str, embed: Embed, precision: str, images: Path | None, patients: PatientRefs | None
) -> list[Entry]:
    """The entries whose photograph is still what it was, with vectors of the new space."""
    # Notes and records are not kept, so a vector that saw them can't be made again.
    readable = entries if kind == "image" else ()
    found = [(entry, data) for entry in readable if (data := _source_bytes(entry, images, patients)) is not None]
    vectors = embed([data for _, data in found]) if found else []
    return [
        replace(entry, vectors={kind: vector_D}, precision=precision)
        for (entry, _), vector_D in zip(found, vectors, strict=True)
        if vector_D is not None
    ]


def _source_bytes(entry: Entry, images: Path | None, patients: PatientRefs | None) -> bytes | None:
    if not entry.source or "://" in entry.source.removeprefix("file://"):
        return None
    path = Path(entry.source.removeprefix("file://"))
    path = path if path.is_absolute() or images is None else images / path
    try:
        if patients is not None:
            path = patients.find(path, entry.patient)
        if not path.is_file() or path.stat().st_size > _MAX_SOURCE_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    if entry.content_sha256 is not None and hashlib.sha256(data).digest() != entry.content_sha256:
        return None
    return data
