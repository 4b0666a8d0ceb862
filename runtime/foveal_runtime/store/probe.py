"""Whether PostgreSQL answers, on a connection of its own: a full pool says nothing of the server behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_PATIENCE_S = 1.5


class Probe:
    """Asks one server, one question at a time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: AsyncConnection | None = None
        self._asking = asyncio.Lock()

    async def alive(self) -> bool:
        """Ask. Never raises, and takes two seconds at most."""
        import psycopg

        async with self._asking:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    if self._connection is None or self._connection.closed:
                        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                    await self._connection.execute("SELECT 1")
            except (psycopg.Error, TimeoutError, OSError):
                await self.close()
                return False
            return True

    async def close(self) -> None:
        """Give the connection back. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
