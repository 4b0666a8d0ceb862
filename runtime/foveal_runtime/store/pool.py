"""Pools of connections to one PostgreSQL, each prepared for searches: the vectors' type, plans, limits. Retries nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal_runtime.store import vectors
from foveal_runtime.store.options import StoreOptions

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What connections to a database are prepared with."""

    options: StoreOptions
    halfvec_oid: int
    """pgvector's type in this database."""
    extension_schema: str
    """Where pgvector's types live."""

    def pool(self, conninfo: str, connection_class: type[AsyncConnection[Any]], *, name: str) -> AsyncConnectionPool[Any]:
        """A pool that is not open yet.

        Args:
            conninfo: of the server.
            connection_class: of psycopg's connections.
            name: of the pool, for its log.
        """
        from psycopg_pool import AsyncConnectionPool

        return AsyncConnectionPool(
            conninfo,
            connection_class=connection_class,
            kwargs={"autocommit": True, "prepare_threshold": 2},
            min_size=self.options.connections_min,
            max_size=self.options.connections_max,
            timeout=self.options.connect_timeout_s,
            configure=self.configure,
            reconnect_timeout=60.0,
            open=False,
            name=name,
        )

    async def configure(self, connection: AsyncConnection) -> None:
        """Prepare a connection."""
        from psycopg import sql

        vectors.register(connection, self.halfvec_oid)
        schema = sql.Identifier(self.extension_schema).as_string(connection)
        settings = {
            "statement_timeout": str(round(self.options.statement_timeout_s * 1000)),
            "search_path": f"{schema}, pg_temp",
            "hnsw.ef_search": str(self.options.ef_search),
            "hnsw.iterative_scan": "relaxed_order",
            # Plans depend on the vector, k and filter at hand; a generic plan knows none of them.
            "plan_cache_mode": "force_custom_plan",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "datestyle": "ISO",
        }
        # The library is loaded first: its settings do not exist before.
        await connection.execute(f"SELECT '[1]'::{schema}.halfvec")
        await connection.execute(
            "SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(settings)),
            [part for pair in settings.items() for part in pair],
        )
