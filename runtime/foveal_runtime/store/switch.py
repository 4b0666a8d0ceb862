"""Move a collection to another embedding space: fill a shadow collection, then swap the two in one transaction. Embeds nothing.

The old vectors stay, under the collection name `NAME.before-N`. Servers that still hold the old collection open are refused
from the swap on: its tables have other names then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import PreconditionError
from foveal_runtime.store.entry import CHANGEABLE, KINDS
from foveal_runtime.store.schema import Collection, find_collection, open_collection

if TYPE_CHECKING:
    from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class Difference:
    """What a shadow still lacks of one kind."""

    missing: tuple[str, ...]
    """Ids that are in the collection and not in the shadow, or with other content or other facts."""
    gone: tuple[str, ...]
    """Ids that were deleted meanwhile."""


async def shadow_of(connection: AsyncConnection, collection: Collection, *, space_id: str, dim: int) -> Collection:
    """The collection that will replace `collection`; made now, or found when a migration was interrupted.

    Raises:
        PreconditionError: the collection is of that space already.
    """
    if collection.space_id == space_id:
        raise PreconditionError(f"collection {collection.name!r} is of space {space_id} already; there is nothing to migrate")
    name = f"{collection.name[:40]}.to-{space_id[:12]}"
    return await open_collection(
        connection, name, space_id=space_id, dim=dim, create=True, patient_key_id=collection.patient_key_id
    )


async def difference(connection: AsyncConnection, old: Collection, new: Collection, kind: str) -> Difference:
    """Compare a collection with its shadow by id, content hash and facts."""
    a, b = old.tables.vectors[kind], new.tables.vectors[kind]
    names = ("content_sha256", *CHANGEABLE)
    ours, theirs = (", ".join(f"{of}.{name}" for name in names) for of in ("x", "y"))
    cursor = await connection.execute(
        f"SELECT a.id FROM {a} a JOIN {old.tables.entries} x USING (id)"
        f" LEFT JOIN ({b} b JOIN {new.tables.entries} y USING (id)) USING (id)"
        f" WHERE b.id IS NULL OR ({ours}) IS DISTINCT FROM ({theirs}) ORDER BY a.id"
    )
    missing = tuple(row[0] for row in await cursor.fetchall())
    cursor = await connection.execute(f"SELECT b.id FROM {b} b LEFT JOIN {a} a USING (id) WHERE a.id IS NULL ORDER BY b.id")
    return Difference(missing, tuple(row[0] for row in await cursor.fetchall()))


async def promote(
    connection: AsyncConnection, old: Collection, new: Collection, *, left_behind: set[tuple[str, str]]
) -> str | None:
    """Swap, unless writes came in since the last look. Atomic: a reader sees the one or the other.

    Args:
        connection: of the schema's owner.
        old: the collection as it is.
        new: its shadow, filled.
        left_behind: (kind, id) of what can't be embedded again and is known to stay in the old collection.

    Returns:
        The name the old vectors have now; None when the shadow lacks something and another pass is needed.
    """
    async with connection.transaction():
        # Writers wait from here on, and are refused once the tables have other names.
        await connection.execute("SET LOCAL lock_timeout = '30s'")
        await connection.execute("LOCK TABLE " + ", ".join(old.tables.all) + " IN SHARE MODE")
        for kind in KINDS:
            open_ends = await difference(connection, old, new, kind)
            if open_ends.gone or any((kind, item_id) not in left_behind for item_id in open_ends.missing):
                return None
        cursor = await connection.execute(
            "UPDATE foveal.collections SET generation = DEFAULT WHERE name = %s RETURNING generation", (old.name,)
        )
        row = await cursor.fetchone()
        assert row is not None
        moved = Collection(
            name=f"{old.name[:40]}.before-{int(row[0])}",
            generation=int(row[0]),
            space_id=old.space_id,
            dim=old.dim,
            patient_key_id=old.patient_key_id,
        )
        await connection.execute("UPDATE foveal.collections SET name = %s WHERE name = %s", (moved.name, old.name))
        await connection.execute("UPDATE foveal.collections SET name = %s WHERE name = %s", (old.name, new.name))
        for before, after in zip(old.tables.all, moved.tables.all, strict=True):
            await _rename(connection, before, after)
    return moved.name


async def _rename(connection: AsyncConnection, old: str, new: str) -> None:
    """Rename a table and its indexes, whose names begin with the table's."""
    old_name, new_name = old.split(".", 1)[1], new.split(".", 1)[1]
    cursor = await connection.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s::regclass", (old,)
    )
    for (index,) in await cursor.fetchall():
        if index.startswith(old_name + "_"):
            await connection.execute(f"ALTER INDEX foveal.{index} RENAME TO {new_name}{index[len(old_name) :]}")
    await connection.execute(f"ALTER TABLE {old} RENAME TO {new_name}")


async def current(connection: AsyncConnection, name: str) -> Collection:
    """The collection of that name.

    Raises:
        PreconditionError: there is none.
    """
    found = await find_collection(connection, name)
    if found is None:
        raise PreconditionError(f"there is no collection {name!r} in this store; `foveal store stats` lists them")
    return found
