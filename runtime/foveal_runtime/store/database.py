"""A database with pgvector: the embedded server or a URL, a pool of prepared connections, retries, errors in our words.

Knows no collection and no item.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveal_runtime.errors import DeadlineError, FovealError, PreconditionError, StoreError
from foveal_runtime.store import location as places
from foveal_runtime.store import schema
from foveal_runtime.store.grouped import StoreAwayError
from foveal_runtime.store.options import StoreOptions
from foveal_runtime.store.pool import Prepared
from foveal_runtime.store.probe import Probe

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Error
    from psycopg_pool import AsyncConnectionPool

    from foveal_runtime.store.postgres import EmbeddedPostgres

_log = logging.getLogger(__name__)
T = TypeVar("T")

OLDEST_POSTGRES = 140_000
OLDEST_PGVECTOR = (0, 8, 0)
"""The first with iterative index scans, which filtered searches need."""


class TableGoneError(StoreError):
    """A table that was there when the collection was opened is there no more."""


class Database:
    """An open database. Made by `open`."""

    def __init__(self, place: str, options: StoreOptions, server: EmbeddedPostgres | None, app: str, owner: str) -> None:
        self.place = place
        """Where it is, without user and password."""
        self.app_conninfo = app
        self.owner_conninfo = owner
        self.server = server
        self._options = options
        self._pool: AsyncConnectionPool[AsyncConnection] | None = None
        self._probe = Probe(app)
        self.halfvec_oid = 0
        self.extension_schema = "public"
        """Where pgvector's types live."""

    @classmethod
    async def open(cls, location: str | Path, options: StoreOptions, *, attach: bool = False) -> Database:
        """Start or reach the server, bring its schema up to date, open the pool.

        Args:
            location: a folder or a `postgresql://` URL.
            options: limits and timeouts.
            attach: use the server that another foveal runs in this folder, if one does, as `foveal store` commands do.

        Raises:
            StoreError, PreconditionError, ConfigError: see `Archive.open`.
        """
        try:
            import psycopg  # noqa: F401
            import psycopg_pool  # noqa: F401
        except ImportError as error:
            raise StoreError("the store needs psycopg, which is not installed; pip install 'foveal[store]'") from error
        server = None
        if places.is_url(location):
            url = str(location)
            app = owner = places.conninfo_of(url, connect_timeout_s=options.connect_timeout_s, password=options.password)
        else:
            from foveal_runtime.store.postgres import APP_ROLE, OWNER_ROLE, EmbeddedPostgres, running_server

            folder = places.folder_of(location)
            running = running_server(folder) if attach else None
            if running is not None:
                return await cls._opened(location, options, None, running(APP_ROLE), running(OWNER_ROLE))
            server = EmbeddedPostgres(folder, run_as=options.run_as, start_timeout_s=options.start_timeout_s)
            starting = asyncio.ensure_future(asyncio.to_thread(server.start))
            try:
                await asyncio.shield(starting)
            except asyncio.CancelledError:
                # The thread goes on until it is told: wait for it, so that no server stays behind.
                server.interrupt()
                await asyncio.gather(starting, return_exceptions=True)
                await asyncio.to_thread(server.stop)
                raise
            app, owner = server.conninfo(APP_ROLE), server.conninfo(OWNER_ROLE)
        return await cls._opened(location, options, server, app, owner)

    @classmethod
    async def _opened(
        cls, location: str | Path, options: StoreOptions, server: EmbeddedPostgres | None, app: str, owner: str
    ) -> Database:
        database = cls(places.printable(location), options, server, app, owner)
        try:
            await database.bring_up_to_date()
            await database._open_pool()
        except BaseException:
            await database.close()
            raise
        return database

    async def bring_up_to_date(self, app_role: str | None = None) -> None:
        """Check the server, then migrate its schema where this role may.

        Args:
            app_role: role of a remote server that gets the rights serving needs; the embedded one's is known.

        Raises:
            StoreError: too old, without pgvector, or with a schema from the future.
            PreconditionError: the schema is old and this role may not change it.
        """
        from foveal_runtime.store.postgres import APP_ROLE

        granted = app_role or (APP_ROLE if self.owner_conninfo != self.app_conninfo else None)

        async def prepare(connection: AsyncConnection) -> None:
            await self._check_server(connection)
            found = await schema.schema_version(connection)
            schema.check_version(found)
            if found < schema.SCHEMA_VERSION or granted is not None:
                await schema.migrate(connection, extension_schema=self.extension_schema, app_role=granted)

        await self.as_owner(prepare)

    async def _open_pool(self) -> None:
        from foveal_runtime.store.reconnect import PatientConnection

        self._pool = self.prepared.pool(self.app_conninfo, PatientConnection, name="foveal-store")
        await self._pool.open(wait=True, timeout=self._options.connect_timeout_s)

    @property
    def prepared(self) -> Prepared:
        """What connections to this database, or to a standby of it, are prepared with."""
        return Prepared(options=self._options, halfvec_oid=self.halfvec_oid, extension_schema=self.extension_schema)

    async def _check_server(self, connection: AsyncConnection) -> None:
        version = connection.info.server_version
        if version < OLDEST_POSTGRES:
            raise StoreError(
                f"PostgreSQL at {self.place} is version {version // 10_000}, {OLDEST_POSTGRES // 10_000} or newer is needed;"
                " upgrade it"
            )
        cursor = await connection.execute(
            "SELECT e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'vector'"
        )
        row = await cursor.fetchone()
        if row is None:
            row = await self._create_extension(connection)
        if tuple(int(part) for part in str(row[0]).split(".")[:3]) < OLDEST_PGVECTOR:
            raise StoreError(
                f"pgvector at {self.place} is version {row[0]}, {'.'.join(map(str, OLDEST_PGVECTOR))} or newer is needed;"
                " upgrade it, then run ALTER EXTENSION vector UPDATE"
            )
        self.extension_schema = row[1]
        cursor = await connection.execute(
            "SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace"
            " WHERE t.typname = 'halfvec' AND n.nspname = %s",
            (row[1],),
        )
        found = await cursor.fetchone()
        assert found is not None
        self.halfvec_oid = int(found[0])

    async def _create_extension(self, connection: AsyncConnection) -> tuple[Any, ...]:
        import psycopg

        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            raise StoreError(
                f"the database at {self.place} has no pgvector ({_state(error)}); install pgvector"
                f" {'.'.join(map(str, OLDEST_PGVECTOR))} or newer, and run CREATE EXTENSION vector as an administrator"
            ) from None
        cursor = await connection.execute(
            "SELECT e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'vector'"
        )
        row = await cursor.fetchone()
        assert row is not None
        return row

    async def as_owner(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` on a connection of the schema's owner, opened for it; autocommit, no statement timeout."""
        import psycopg

        try:
            async with await psycopg.AsyncConnection.connect(self.owner_conninfo, autocommit=True) as connection:
                return await work(connection)
        except psycopg.Error as error:
            raise self._foveal_error(error) from None

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` on a pooled connection; run it again after a serialisation failure, a deadlock or a lost connection.

        `work` may run several times and must be idempotent, as upserts, deletes and reads are.

        Raises:
            StoreError: PostgreSQL stays away for `retry_for_s`, or refuses.
            DeadlineError: a statement ran longer than `statement_timeout_s`.
        """
        import psycopg
        from psycopg_pool import PoolTimeout

        assert self._pool is not None
        give_up = time.monotonic() + self._options.retry_for_s
        pause_s = 0.01
        while True:
            try:
                async with self._pool.connection() as connection:
                    return await work(connection)
            except (psycopg.Error, PoolTimeout) as error:
                if not _worth_retrying(error) or time.monotonic() + pause_s > give_up:
                    raise self._foveal_error(error) from None
                _log.info("retrying after %s", _state(error))
                if isinstance(error, psycopg.OperationalError):
                    await self._pool.check()
            # Jitter: writers that collided must not collide again.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(0.5, pause_s * 2)

    def _foveal_error(self, error: Error | Exception) -> FovealError:
        """The error in our words. PostgreSQL's own text may quote values, so only its state and our reading of it are kept."""
        import psycopg
        from psycopg import errors as pg
        from psycopg_pool import PoolTimeout

        if self.server is not None and (isinstance(error, PoolTimeout) or _lost(error)):
            try:
                self.server.check_failure()
            except StoreError as failure:
                return failure
        at = f"PostgreSQL at {self.place}"
        if isinstance(error, pg.QueryCanceled):
            return DeadlineError(f"a statement ran longer than {self._options.statement_timeout_s:g} s and was cancelled")
        if isinstance(error, pg.DiskFull):
            return StoreError(f"{at} has no disk space left; free some, nothing that was acknowledged is lost")
        if isinstance(error, pg.InsufficientPrivilege):
            return PreconditionError(f"{at} refuses this role; grant it the rights by `foveal store init URL --app-role NAME`")
        if isinstance(error, pg.ReadOnlySqlTransaction):
            return PreconditionError(
                f"{at} is read-only (a standby?); give the URL of the primary, or target_session_attrs=read-write"
            )
        if isinstance(error, pg.UndefinedTable):
            return TableGoneError(f"{at} lacks a table of this collection")
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return StoreAwayError(f"{at} can't be reached: {_first_line(error)}")
        return StoreError(f"{at} refused: {_state(error)}")

    async def ping(self) -> bool:
        """Whether it answers, by asking it on a connection of its own."""
        return await self._probe.alive()

    async def close(self) -> None:
        """Close the pool and stop the embedded server. Idempotent."""
        await self._probe.close()
        if self._pool is not None:
            await self._pool.close()
        if self.server is not None:
            await asyncio.shield(asyncio.to_thread(self.server.stop))


def _worth_retrying(error: Exception) -> bool:
    from psycopg import errors as pg
    from psycopg_pool import PoolTimeout

    if isinstance(error, pg.SerializationFailure | pg.DeadlockDetected | PoolTimeout):
        return True
    return isinstance(error, pg.TooManyConnections) or _lost(error)


def _lost(error: Exception) -> bool:
    """Whether the connection broke, or none could be made."""
    import psycopg
    from psycopg import errors as pg

    if isinstance(error, pg.AdminShutdown | pg.CrashShutdown | pg.CannotConnectNow):
        return True
    # A connection that broke has no state.
    return isinstance(error, psycopg.OperationalError) and error.sqlstate is None


def _state(error: Exception) -> str:
    """PostgreSQL's error class and state, which quote nothing."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {state}" if state else type(error).__name__


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]
