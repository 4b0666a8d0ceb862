"""One search of one collection: by the index or exactly, whichever answers sooner, and always k hits when k exist.

The SQL is `rows`'s; connections and retries are the caller's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import InputError
from foveal_runtime.store import rows
from foveal_runtime.store.entry import Float32, SearchResult
from foveal_runtime.store.filter import Compiled
from foveal_runtime.store.tables import Tables

if TYPE_CHECKING:
    from psycopg import AsyncConnection

MAX_K = 10_000
"""Most results of one search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """A search that was checked and compiled."""

    tables: Tables
    kind: str
    query_D: Float32
    condition: Compiled
    k: int
    filtered: bool
    with_vectors: bool
    index_rows: float | None
    """About how many vectors the index holds; None compares everything."""
    exact_filter_cost: float
    """See `StoreOptions`."""

    async def run(self, connection: AsyncConnection) -> SearchResult:
        """Ask; idempotent."""
        if self.index_rows is not None and (not self.filtered or await self._keeps_many(connection, self.index_rows)):
            found = await self._ask(connection, by_index=True)
            if len(found.hits) == self.k:
                return found
        # Also when the index ran dry: a filtered search gives k results when k exist.
        return await self._ask(connection, by_index=False)

    async def _ask(self, connection: AsyncConnection, *, by_index: bool) -> SearchResult:
        make = rows.index_search if by_index else rows.exact_search
        statement, params = make(self.tables, self.kind, self.query_D, self.condition, self.k, self.with_vectors)
        cursor = await connection.execute(statement, params, binary=True)
        hits = tuple(rows.to_hit(self.kind, row) for row in await cursor.fetchall())
        return SearchResult(hits=hits, exact=not by_index)

    async def _keeps_many(self, connection: AsyncConnection, index_rows: float) -> bool:
        """Whether the planner expects more entries to pass the filter than are quickly compared one by one."""
        statement = rows.estimate_sql(self.tables, self.condition)
        cursor = await connection.execute(statement, self.condition.params)
        row = await cursor.fetchone()
        assert row is not None
        kept = float(row[0][0]["Plan"]["Plan Rows"])
        return kept > math.sqrt(self.exact_filter_cost * self.k * index_rows)


def check_k(k: int) -> int:
    """`k` itself.

    Raises:
        InputError: no whole number from 1 to `MAX_K`.
    """
    if not (isinstance(k, int) and 1 <= k <= MAX_K):
        raise InputError(f"k is {k}; want 1 to {MAX_K}")
    return k
