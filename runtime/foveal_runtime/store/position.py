"""Where a PostgreSQL is in its write-ahead log, and when the owner of the data was where. Opens no connection.

Positions are bytes since the log's beginning (PostgreSQL's `pg_lsn` as a number). A standby's lag is measured by them and by
this machine's clock alone: it holds all that the owner had at the last moment at which the owner was known to be no further
than the standby is now. `now() - pg_last_xact_replay_timestamp()` instead grows while nobody writes, and compares the clocks of
two machines.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from psycopg import AsyncConnection

WHERE_SQL = (
    "SELECT pg_is_in_recovery(), system_identifier,"
    " (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),"
    " coalesce((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')"
    "::bigint, 0) FROM pg_control_system()"
)
"""A row of `Position`; a standby that tells no position is at 0, and so behind."""


@dataclass(frozen=True, slots=True)
class Position:
    """Which data a server has, and how far."""

    standby: bool
    system: int
    """PostgreSQL's system identifier, which a physical standby shares with its owner."""
    database: int
    """Number of the database in it."""
    log_bytes: int
    """Of the owner what is on its disk, of a standby what searches see."""

    def same_data(self, other: Position) -> bool:
        """Whether this is the same database as another server's: itself, or its physical copy."""
        return (self.system, self.database) == (other.system, other.database)

    @classmethod
    async def of(cls, connection: AsyncConnection) -> Self:
        """Of the server at the other end; raises what psycopg raises."""
        row = await (await connection.execute(WHERE_SQL)).fetchone()
        assert row is not None
        return cls(*row)


class OwnerLog:
    """When the owner's log had which length, as far as it was asked."""

    def __init__(self, keep_s: float) -> None:
        """Args:
        keep_s: how long moments are kept.
        """
        self._keep_s = keep_s
        self._moments_s: list[float] = []
        self._lengths: list[int] = []
        self.latest: Position | None = None

    def note(self, at_s: float, position: Position) -> None:
        """The owner had this much of its log, or more, at this moment."""
        if self.latest is not None and (position.system != self.latest.system or position.log_bytes < self.latest.log_bytes):
            # Another server took its place: what was measured of the one before says nothing of it.
            self._moments_s.clear()
            self._lengths.clear()
        self.latest = position
        self._moments_s.append(at_s)
        self._lengths.append(position.log_bytes)
        # One moment beyond is kept: it tells that something is older than all others.
        old = bisect_right(self._moments_s, at_s - self._keep_s) - 1
        if old > 0:
            del self._moments_s[:old]
            del self._lengths[:old]

    def held_since_s(self, log_bytes: int) -> float | None:
        """The last moment all of which this much of the log holds; None where all moments are younger."""
        index = bisect_right(self._lengths, log_bytes)
        return self._moments_s[index - 1] if index else None
