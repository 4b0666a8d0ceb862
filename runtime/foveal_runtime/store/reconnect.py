"""Connections of a pool that are there soon after PostgreSQL is. Knows no pool.

A pool of psycopg's own waits a second after the first failure, then two, four and eight: a server that has recovered in four
seconds is seen after seven.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

_FOR_S = 4.0
"""Less than a pool that closes waits for its connections (psycopg_pool: 5 s)."""
_PAUSE_S = 0.1


class PatientConnection(psycopg.AsyncConnection[Any]):
    """Tries again for a while to reach a server that is away or recovers."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> PatientConnection:
        """See `psycopg.AsyncConnection.connect`.

        Raises:
            psycopg.OperationalError: it stayed away for `_FOR_S`.
        """
        give_up = time.monotonic() + _FOR_S
        while True:
            try:
                return await super().connect(conninfo, **options)
            except psycopg.OperationalError:
                if time.monotonic() + _PAUSE_S > give_up:
                    raise
            await asyncio.sleep(_PAUSE_S)
