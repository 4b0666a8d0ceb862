"""Asking PostgreSQL on a connection of its own: a full pool says nothing of the server behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_PATIENCE_S = 1.5


class Probe:
    """Asks one server, one question at a time."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: AsyncConnection | None = None
        self._asking = asyncio.Lock()
        self.failure = ""
        """Why the last question had no answer: PostgreSQL's class of error and state, which quote nothing."""

    async def alive(self) -> bool:
        """Whether it answers. Never raises, and takes three seconds at most."""
        return await self.ask("SELECT 1") is not None

    async def ask(self, statement: str) -> tuple[Any, ...] | None:
        """The first row of an answer; None where there is none. Never raises, and takes three seconds at most."""
        import psycopg

        async with self._asking:
            too_late: asyncio.TimerHandle | None = None
            try:
                if self._connection is None or self._connection.closed:
                    async with asyncio.timeout(_PATIENCE_S):
                        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                # A cancelled task of psycopg's ends when the server says so, and one that hangs never does.
                too_late = asyncio.get_running_loop().call_later(_PATIENCE_S, break_off, self._connection)
                cursor = await self._connection.execute(statement)
                row = await cursor.fetchone()
            except (psycopg.Error, TimeoutError, OSError) as error:
                state = getattr(error, "sqlstate", None)
                self.failure = " ".join(each for each in (type(error).__name__, state) if each)
                await self.close()
                return None
            finally:
                if too_late is not None:
                    too_late.cancel()
            return row

    async def close(self) -> None:
        """Give the connection back. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def break_off(connection: AsyncConnection[Any]) -> None:
    """End what a connection waits for, with an error: a server that hangs does not answer a request to cancel either."""
    import psycopg

    with contextlib.suppress(OSError, ValueError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as other:
        other.shutdown(socket.SHUT_RDWR)
