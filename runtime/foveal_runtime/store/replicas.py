"""Standbys of an owner that answer reads: watched, chosen by what they are at, passed over when they are not well.

No read fails because of them: what none of them answers, the owner does. Streaming is PostgreSQL's; nothing here sets it up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from foveal_runtime.store.location import conninfo_of
from foveal_runtime.store.options import ReplicaReads
from foveal_runtime.store.position import WHERE_SQL, OwnerLog, Position
from foveal_runtime.store.probe import Probe
from foveal_runtime.store.replica import OwnerAnswers, Replica, ReplicaStatus

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.options import StoreOptions

T = TypeVar("T")
_LOOK_S = 1.0
_FIRST_LOOKS, _FIRST_PAUSE_S = 4, 0.05
"""At the start there is no older moment to measure a lag by; what the owner has just written arrives within milliseconds."""


class Replicas:
    """The standbys of one database. `start`, then `read`, then `close`; for one event loop."""

    def __init__(
        self,
        urls: Sequence[str],
        database: Database,
        options: StoreOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        urls: of the standbys.
        database: of their owner, open.
        options: its own; the password is theirs too, since a standby has its owner's roles.
        clock: seconds.

        Raises:
            ConfigError: PostgreSQL can't read a URL.
        """
        self._options = options
        self._clock = clock
        self._probe = Probe(database.app_conninfo)
        self._asking = asyncio.Lock()
        self._asked_s = -1.0
        self._answer: Position | None = None
        # Longer than the limit: a standby beyond it is then told from one that was never measured.
        self._owner = OwnerLog(keep_s=2 * options.replica_max_lag_s + 60)
        self._look_s = min(_LOOK_S, options.replica_max_lag_s / 4)
        self._by_owner = 0
        self._tasks: list[asyncio.Task[None]] = []
        timeout_s, password = options.connect_timeout_s, options.password
        self._replicas = [
            Replica(
                number,
                conninfo_of(url, connect_timeout_s=timeout_s, password=password),
                database.prepared,
                self._owner,
                clock=clock,
            )
            for number, url in enumerate(urls, 1)
        ]

    @property
    def statuses(self) -> tuple[ReplicaStatus, ...]:
        """How each is, in the order in which they were named."""
        return tuple(replica.status for replica in self._replicas)

    @property
    def reads_by_owner(self) -> int:
        """Reads that a standby might have answered and the owner did."""
        return self._by_owner

    async def start(self) -> None:
        """Look at all of them, and go on looking. One that is away is no error."""
        try:
            for _ in range(_FIRST_LOOKS):
                await self._owner_now()
                await asyncio.gather(*(replica.look(first=True) for replica in self._replicas))
                if all(replica.measured for replica in self._replicas):
                    break
                await asyncio.sleep(_FIRST_PAUSE_S)
        except BaseException:
            await self.close()
            raise
        looks = [self._owner_now, *(replica.look for replica in self._replicas)]
        self._tasks = [asyncio.create_task(self._keep(look), name="foveal-replica-watch") for look in looks]

    async def _keep(self, look: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            await look()

    async def _owner_now(self) -> Position | None:
        """Where the owner is, asked after this was called; None where it does not answer. Calls at one time share an answer."""
        called_s = self._clock()
        async with self._asking:
            if self._asked_s >= called_s:
                return self._answer
            began_s = self._clock()
            row = await self._probe.ask(WHERE_SQL)
            self._asked_s, self._answer = began_s, None if row is None else Position(*row)
            if self._answer is not None and not self._answer.standby:
                self._owner.note(began_s, self._answer)
            return self._answer

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]], *, after_bytes: int) -> T:
        """Run `work`, which reads, on a standby that has all it must have.

        Args:
            work: what to do; may be run on several standbys, one after the other.
            after_bytes: of the owner's log that the standby must have; with `ReplicaReads.ALL_WRITES` all that the owner has.

        Raises:
            OwnerAnswers: none can.
        """
        usable = sorted((replica for replica in self._replicas if replica.usable), key=lambda replica: replica.in_work)
        if usable and self._options.replica_reads is ReplicaReads.ALL_WRITES:
            owner = await self._owner_now()
            usable = [] if owner is None else usable
            after_bytes = after_bytes if owner is None else max(after_bytes, owner.log_bytes)
        for replica in usable:
            try:
                return await replica.read(work, after_bytes=after_bytes)
            except OwnerAnswers:
                continue
        self._by_owner += 1
        raise OwnerAnswers

    async def close(self) -> None:
        """Stop looking and give all connections back. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._probe.close()
        await asyncio.gather(*(replica.close() for replica in self._replicas))
