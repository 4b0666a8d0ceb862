"""One standby that may answer reads: looked at, used while it is well, left out at once when it is not.

Knows nothing of other standbys; which one answers is `replicas`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from foveal_runtime.lifecycle import Event, tell
from foveal_runtime.store.pool import Prepared
from foveal_runtime.store.position import WHERE_SQL, OwnerLog, Position
from foveal_runtime.store.probe import Probe, break_off

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg_pool import AsyncConnectionPool

T = TypeVar("T")
_BUSY_S = 2.0
"""Wait for a free connection of a standby; the owner's come next."""
_CATCH_UP_S = 0.05
"""Wait for what was just written to arrive: a standby in the same building is some milliseconds behind."""
_CATCH_UP_PAUSE_S = 0.004
_LONGEST_PAUSE_S = 60.0
"""Without use after reads failed on a standby that answers the watch."""


class ReplicaState(StrEnum):
    """Whether a standby answers reads, and why not."""

    SERVING = "serving"
    BEHIND = "behind"
    """Further behind the owner than is allowed, or the owner does not answer and nothing can be measured."""
    AWAY = "away"
    """It can't be reached, or does not answer in time."""
    UNFIT = "unfit"
    """It is no standby of the owner, or reads failed on it."""


class OwnerAnswers(Exception):
    """This standby does not answer this read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaStatus:
    """How a standby is."""

    number: int
    """Its place among those that were named, from 1."""
    state: ReplicaState
    lag_s: float | None
    """What it holds is all that the owner had this many seconds ago, or less; None until it was measured."""
    reads: int
    """Answered since the start."""


class Replica:
    """A standby, for one event loop."""

    def __init__(
        self,
        number: int,
        conninfo: str,
        prepared: Prepared,
        owner: OwnerLog,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        number: its place among those that were named, from 1.
        conninfo: where it is.
        prepared: what its connections are prepared with.
        owner: what is known of the owner's log, kept by somebody else.
        clock: seconds, of `owner`'s moments too.
        """
        self._number = number
        self._conninfo = conninfo
        self._prepared = prepared
        self._owner = owner
        self._clock = clock
        self._max_lag_s = prepared.options.replica_max_lag_s
        self._probe = Probe(conninfo)
        self._pool: AsyncConnectionPool[Any] | None = None
        self._in_use: set[AsyncConnection[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._state: ReplicaState | None = None
        self._held_since_s: float | None = None
        self._log_bytes = 0
        self._owes_bytes = 0
        """It did not have this much of the log in time; until it is seen to, nobody waits for it again."""
        self._failures = 0
        self._not_before_s = 0.0
        self._reads = 0

    @property
    def status(self) -> ReplicaStatus:
        """How it is now."""
        lag_s = None if self._held_since_s is None else self._clock() - self._held_since_s
        state = self._state or ReplicaState.AWAY
        return ReplicaStatus(number=self._number, state=state, lag_s=lag_s, reads=self._reads)

    @property
    def measured(self) -> bool:
        """Whether its lag was ever measured."""
        return self._held_since_s is not None

    @property
    def usable(self) -> bool:
        """Whether a read is worth trying."""
        return self._pool is not None and self._log_bytes >= self._owes_bytes

    @property
    def in_work(self) -> int:
        """Reads that it is at."""
        return len(self._in_use)

    async def look(self, *, first: bool = False) -> None:
        """Ask it how it is; take it in, or leave it out. Never raises.

        Args:
            first: nothing is said yet where there is nothing older to measure its lag by.
        """
        row = await self._probe.ask(WHERE_SQL)
        if row is None:
            return self._leave_out(ReplicaState.AWAY, self._probe.failure)
        if reason := self._judged(Position(*row)):
            unmeasured = reason[0] is ReplicaState.BEHIND and not self.measured
            return None if first and unmeasured else self._leave_out(*reason)
        if self._pool is None and self._clock() >= self._not_before_s:
            await self._take_in()
        return None

    def _judged(self, position: Position) -> tuple[ReplicaState, str] | None:
        """Why a standby at this position may not answer; None where it may."""
        owner = self._owner.latest
        if owner is None:
            return ReplicaState.BEHIND, "the owner has not answered yet"
        if not position.standby:
            return ReplicaState.UNFIT, "it is no standby: it takes writes of its own"
        if not position.same_data(owner):
            return ReplicaState.UNFIT, "it is no standby of this database: its system identifier or its database is another"
        self._log_bytes = position.log_bytes
        self._owes_bytes = min(self._owes_bytes, owner.log_bytes)  # another owner's log may be shorter
        self._held_since_s = self._owner.held_since_s(position.log_bytes) or self._held_since_s
        # Taken back when it is well within the limit, so that it does not come and go.
        limit_s = self._max_lag_s if self._pool is not None else self._max_lag_s / 2
        if self._held_since_s is None or self._clock() - self._held_since_s > limit_s:
            return ReplicaState.BEHIND, f"it is more than {limit_s:g} s behind the owner, or the owner does not answer"
        return None

    async def _take_in(self) -> None:
        import psycopg

        pool = self._prepared.pool(self._conninfo, psycopg.AsyncConnection, name=f"foveal-replica-{self._number}")
        try:
            await pool.open(wait=True, timeout=self._prepared.options.connect_timeout_s)
        except psycopg.Error:
            self._failed("its connections can't be prepared for searches; is pgvector installed there?")
            await pool.close(timeout=0)
            return
        except BaseException:
            await pool.close(timeout=0)
            raise
        self._pool = pool
        self._become(ReplicaState.SERVING, "it answers searches")

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]], *, after_bytes: int) -> T:
        """Run `work`, which reads, where this much of the owner's log has arrived.

        Raises:
            OwnerAnswers: it can't be run here; nothing of it has happened.
        """
        import psycopg
        from psycopg import errors as pg
        from psycopg_pool import PoolTimeout

        pool = self._pool
        if pool is None or not self.usable:
            raise OwnerAnswers
        try:
            async with pool.connection(timeout=_BUSY_S) as connection:
                self._in_use.add(connection)
                try:
                    await self._caught_up(connection, after_bytes)
                    result = await work(connection)
                finally:
                    self._in_use.discard(connection)
        except (PoolTimeout, pg.QueryCanceled, pg.SerializationFailure, pg.UndefinedTable):
            # Busy, slow, in the way of its own replay, or without a table yet: the owner knows better, and nothing is broken.
            raise OwnerAnswers from None
        except psycopg.Error as error:
            if self._pool is pool:
                self._failed(f"a read failed on it ({type(error).__name__})")
            raise OwnerAnswers from None
        self._reads += 1
        self._failures = 0
        return result

    async def _caught_up(self, connection: AsyncConnection, after_bytes: int) -> None:
        give_up_s = self._clock() + _CATCH_UP_S
        while True:
            position = await Position.of(connection)
            if reason := self._judged(position):
                self._leave_out(*reason)
                raise OwnerAnswers
            if position.log_bytes >= after_bytes:
                return
            if self._clock() > give_up_s:
                self._owes_bytes = after_bytes
                raise OwnerAnswers
            await asyncio.sleep(_CATCH_UP_PAUSE_S)

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self._not_before_s = self._clock() + min(_LONGEST_PAUSE_S, 2.0**self._failures)
        self._leave_out(ReplicaState.UNFIT, reason)

    def _leave_out(self, state: ReplicaState, reason: str) -> None:
        pool, self._pool = self._pool, None
        self._become(state, reason)
        if pool is None:
            return
        for connection in self._in_use:
            break_off(connection)
        closing = asyncio.create_task(_closed(pool), name="foveal-replica-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _become(self, state: ReplicaState, reason: str) -> None:
        before, self._state = self._state, state
        if before is state:
            return
        serves = state is ReplicaState.SERVING
        if serves or before in (None, ReplicaState.SERVING):
            event, level = (Event.REPLICA_BACK, logging.INFO) if serves else (Event.REPLICA_LOST, logging.WARNING)
            words = f"replica {self._number} is {'taken in' if serves else 'left out'}: {reason}"
            tell(event, words, level=level, replica=self._number, state=state.value)

    async def close(self) -> None:
        """Give all connections back. Idempotent."""
        await self._probe.close()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()
        await asyncio.gather(*self._closing, return_exceptions=True)


async def _closed(pool: AsyncConnectionPool[Any]) -> None:
    await pool.close()
