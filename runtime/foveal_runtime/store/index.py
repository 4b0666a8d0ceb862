"""Indexes of a large collection: when to build them, how, and whether they are there. Searching is `archive`'s.

Below `index_from_rows` a collection has its primary key alone and every search is exact. From there on each kind gets an HNSW
index over its vectors (Malkov and Yashunin, 2016, as pgvector has it) and B-tree or GIN indexes over what filters select by.
They are built with CREATE INDEX CONCURRENTLY, so reads and writes go on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import FovealError
from foveal_runtime.store import tuning
from foveal_runtime.store.entry import KINDS

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.options import StoreOptions
    from foveal_runtime.store.schema import Collection

_log = logging.getLogger(__name__)

HNSW_M = 16
"""Neighbours a node keeps; 2 M in the lowest layer."""
HNSW_EF_CONSTRUCTION = 64
_LOCK_CLASS = 0x66766978  # "fvix": first half of the advisory lock; the second is the table's name
_BYTES_PER_NODE = 900
"""Of the graph in memory beside the vector itself, measured at M = 16; a little more than is needed."""
_FILTER_INDEXES = {
    "patient": "(patient) WHERE patient <> ''",
    "acquired": "(acquired) WHERE acquired IS NOT NULL",
    "site": "(site)",
    "camera": "(camera)",
    "icdr": "(icdr)",
    "attributes": "USING gin (attributes jsonb_path_ops)",
}


@dataclass(frozen=True, slots=True)
class Index:
    """One index a large table should have."""

    name: str
    definition: str
    """What follows `ON table`."""


def wanted(table: str) -> list[Index]:
    """The indexes of a large table: the approximate one of vectors, or those that filters of entries select by."""
    bare = table.split(".", 1)[1]
    if _holds_entries(table):
        return [Index(f"{bare}_{name}", text) for name, text in _FILTER_INDEXES.items()]
    hnsw = f"USING hnsw (embedding halfvec_cosine_ops) WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
    return [Index(f"{bare}_hnsw", hnsw)]


def _holds_entries(table: str) -> bool:
    return table.startswith("foveal.e")


async def valid_indexes(connection: AsyncConnection, table: str) -> set[str]:
    """Names of the table's finished indexes."""
    cursor = await connection.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = %s::regclass AND i.indisvalid AND i.indisready",
        (table,),
    )
    return {row[0] for row in await cursor.fetchall()}


async def is_large(connection: AsyncConnection, table: str, rows: int) -> bool:
    """Whether the table has at least `rows` rows, looking at no more than that."""
    cursor = await connection.execute(f"SELECT count(*) >= %s FROM (SELECT FROM {table} LIMIT %s) AS few", (rows, rows))
    row = await cursor.fetchone()
    return bool(row and row[0])


async def estimated_rows(connection: AsyncConnection, table: str) -> float:
    """The planner's idea of the table's size; 0 before the first ANALYZE."""
    cursor = await connection.execute("SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = %s::regclass", (table,))
    row = await cursor.fetchone()
    return float(row[0]) if row else 0.0


async def build(connection: AsyncConnection, table: str, *, local: bool) -> bool:
    """Build what is missing, unless another server is at it. Returns whether this call saw it through.

    Args:
        connection: of the schema's owner, autocommit, without statement timeout.
        table: a large table.
        local: PostgreSQL runs on this machine as our child, so its memory is known.
    """
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_CLASS, table))
    row = await cursor.fetchone()
    if not (row and row[0]):
        return False
    try:
        done = await valid_indexes(connection, table)
        missing = [index for index in wanted(table) if index.name not in done]
        if missing and not _holds_entries(table):
            await _set_resources(connection, table, local=local)
        for index in missing:
            # What a killed build left is invalid, and CREATE INDEX IF NOT EXISTS would take it for done.
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS foveal.{index.name}")
            _log.info("building %s", index.name)
            await connection.execute(f"CREATE INDEX CONCURRENTLY {index.name} ON {table} {index.definition}")
        if missing:
            await connection.execute(f"ANALYZE {table}")
    finally:
        if not connection.closed:
            await connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (_LOCK_CLASS, table))
    return True


async def _set_resources(connection: AsyncConnection, table: str, *, local: bool) -> None:
    """Memory for the whole graph where there is some: a graph that outgrows it is built many times slower."""
    cursor = await connection.execute(
        "SELECT count(*), (SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'embedding')"
        f" FROM {table}",
        (table,),
    )
    row = await cursor.fetchone()
    assert row is not None
    needed = int(row[0]) * (2 * int(row[1]) + _BYTES_PER_NODE)
    ceiling = tuning.memory_bytes() // 3 if local else 1 << 30
    memory = max(64 << 20, min(needed, ceiling))
    # Half the cores, so that searches go on.
    workers = tuning.cores() // 2 if local else 2
    if local and _free_shared_memory() < memory * 1.1:
        # A parallel build keeps the graph in /dev/shm, 64 MB in a container by default.
        workers = 0
    await connection.execute(
        "SELECT set_config('maintenance_work_mem', %s, false), set_config('max_parallel_maintenance_workers', %s, false)",
        (f"{memory >> 10}kB", str(workers)),
    )


def _free_shared_memory() -> int:
    try:
        info = os.statvfs("/dev/shm")
    except OSError:
        return 0
    return info.f_bavail * info.f_frsize


class Keeper:
    """Watches one collection and builds indexes in the background; knows which kinds have one."""

    def __init__(self, database: Database, collection: Collection, options: StoreOptions) -> None:
        self._database = database
        self._collection = collection
        self._options = options
        self._indexed: dict[str, bool] = dict.fromkeys(KINDS, False)
        self._rows: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def is_indexed(self, kind: str) -> bool:
        """Whether the kind had a finished HNSW index at the last look."""
        return self._indexed[kind]

    def rows(self, kind: str) -> float:
        """About how many vectors of the kind there were at the last look."""
        return self._rows[kind]

    async def look(self) -> list[str]:
        """Look which kinds are indexed now. Returns the tables that are large and lack an index."""
        lacking: list[str] = []

        async def work(connection: AsyncConnection) -> dict[str, bool]:
            lacking.clear()
            seen = {}
            tables = self._collection.tables
            for kind, table in ((None, tables.entries), *tables.vectors.items()):
                done = await valid_indexes(connection, table)
                complete = all(index.name in done for index in wanted(table))
                if kind is not None:
                    self._rows[kind] = await estimated_rows(connection, table)
                    seen[kind] = complete
                if not complete and await is_large(connection, table, self._options.index_from_rows):
                    lacking.append(table)
            return seen

        self._indexed = await self._database.run(work)
        return lacking

    async def build_now(self) -> None:
        """Build every index that is due, or wait for the server that is at it.

        Raises:
            FovealError: PostgreSQL refuses, for example since this role owns no table.
        """
        while lacking := await self.look():
            done = True
            for table in lacking:

                async def work(connection: AsyncConnection, table: str = table) -> bool:
                    return await build(connection, table, local=self._database.server is not None)

                done = await self._database.as_owner(work) and done
            if not done:
                await asyncio.sleep(0.5)

    def start(self) -> None:
        """Begin watching."""
        self._task = asyncio.create_task(self._watch(), name="foveal-store-keeper")

    def nudge(self) -> None:
        """Look soon: much was written."""
        self._wake.set()

    async def _watch(self) -> None:
        said = ""
        while True:
            try:
                await self.build_now()
            except FovealError as error:
                # Serving goes on, exactly and slowly; the next look tries again. Said once: a role without rights stays so.
                if str(error) != said:
                    said = str(error)
                    _log.warning("no index could be built: %s", error)
            try:
                async with asyncio.timeout(self._options.maintain_every_s):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def stop(self) -> None:
        """Stop watching; a build under way is cancelled and leaves nothing that counts as an index."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
