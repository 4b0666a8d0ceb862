"""What a collection holds, counted. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.store import rows
from foveal_runtime.store.entry import KINDS
from foveal_runtime.store.filter import compile_filter
from foveal_runtime.store.schema import Collection, schema_version

if TYPE_CHECKING:
    from psycopg import AsyncConnection


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What a collection holds."""

    collection: str
    space_id: str
    dim: int
    entries: int
    """Counted exactly."""
    counts: Mapping[str, int]
    """Vectors per kind, counted exactly."""
    indexed: Mapping[str, bool]
    """Per kind, whether an approximate index answers unfiltered searches."""
    recall: Mapping[str, float]
    """Per kind, recall@10 of the index against exact search when it was last measured here; absent where it never was."""
    schema_version: int
    server_version: str
    bytes_on_disk: int


async def gather(
    connection: AsyncConnection, collection: Collection, *, indexed: Mapping[str, bool], recall: Mapping[str, float]
) -> Stats:
    """Count everything; reads every table once."""
    everything = compile_filter(None)
    tables = collection.tables
    counts = {kind: await _number(connection, rows.count_sql(tables, kind, everything)) for kind in KINDS}
    size = 0
    for table in tables.all:
        size += await _number(connection, "SELECT pg_total_relation_size(%s::regclass)", table)
    version = connection.info.server_version
    return Stats(
        collection=collection.name,
        space_id=collection.space_id,
        dim=collection.dim,
        entries=await _number(connection, rows.count_sql(tables, None, everything)),
        counts=counts,
        indexed=dict(indexed),
        recall=dict(recall),
        schema_version=await schema_version(connection),
        server_version=f"{version // 10_000}.{version % 10_000}",
        bytes_on_disk=size,
    )


async def _number(connection: AsyncConnection, statement: str, *params: object) -> int:
    cursor = await connection.execute(statement, params)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0
