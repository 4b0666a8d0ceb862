"""The statements of a collection, run on one connection: write, delete, read, count. Opens and retries nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from foveal_runtime.store import rows
from foveal_runtime.store.filter import Compiled
from foveal_runtime.store.item import Float32, Item

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.schema import Collection

_COPY_FROM = 256
"""From this many items of one kind, COPY through a staging table is faster than pipelined inserts."""


async def write(
    connection: AsyncConnection, collection: Collection, kind: str, batch: Sequence[tuple[object, ...]], halfvec_oid: int
) -> int:
    """Insert or replace rows of one kind, inside the caller's transaction; how many were new or changed."""
    table = collection.table(kind)
    if len(batch) < _COPY_FROM:
        cursor = connection.cursor()
        await cursor.executemany(rows.upsert_sql(table), batch)
        return cursor.rowcount
    staging = await rows.create_staging(connection, kind, collection.dim)
    async with connection.cursor() as cursor:
        async with cursor.copy(rows.copy_sql(staging)) as copy:
            copy.set_types([*rows.COPY_TYPES, halfvec_oid])
            for row in batch:
                await copy.write_row(row)
        await cursor.execute(rows.merge_sql(table, staging))
        return cursor.rowcount


async def delete(connection: AsyncConnection, tables: Sequence[str], ids: list[str]) -> int:
    """Remove the rows of some ids, all or none; how many there were."""
    removed = 0
    async with connection.transaction():
        for table in tables:
            removed += (await connection.execute(rows.delete_sql(table), (ids,))).rowcount
    return removed


async def items(connection: AsyncConnection, collection: Collection, kinds: Sequence[str], ids: list[str]) -> list[Item]:
    """The stored items of some ids, in no order."""
    found: list[Item] = []
    for kind in kinds:
        cursor = await connection.execute(rows.get_sql(collection.table(kind)), (ids,), binary=True)
        found.extend(rows.to_item(kind, row) for row in await cursor.fetchall())
    return found


async def known(connection: AsyncConnection, table: str, ids: list[str]) -> set[str]:
    """Those of the ids that are stored."""
    cursor = await connection.execute(rows.known_sql(table), (ids,))
    return {row[0] for row in await cursor.fetchall()}


async def sample(connection: AsyncConnection, table: str, n: int, seed: int) -> list[tuple[str, Float32]]:
    """A random sample of at most `n` vectors with their ids."""
    cursor = await connection.execute(rows.sample_sql(table), (seed, n), binary=True)
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def count(connection: AsyncConnection, tables: Sequence[str], condition: Compiled) -> int:
    """Rows that pass a condition, in several tables together."""
    total = 0
    for table in tables:
        cursor = await connection.execute(rows.count_sql(table, condition), condition.params)
        row = await cursor.fetchone()
        total += int(row[0]) if row else 0
    return total
