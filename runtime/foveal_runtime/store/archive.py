"""One collection of entries, opened: upsert, change, delete, and all that `reading` has. SQL is `rows`'s.

A collection belongs to one embedding space. Each vector kind has a table of its own, so an index never mixes kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveal_runtime.errors import InputError, NotFoundError
from foveal_runtime.store import rows, statements
from foveal_runtime.store.entry import CHANGEABLE, KINDS, Entry, Removed, check_entries, check_id, check_ids, kinds_of
from foveal_runtime.store.filter import Filter, compile_filter
from foveal_runtime.store.grouped import GroupedWrites
from foveal_runtime.store.options import ReplicaReads, StoreOptions
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.reading import Reading
from foveal_runtime.store.stats import Stats, gather

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.postgres import EmbeddedPostgres
    from foveal_runtime.store.replica import ReplicaStatus
    from foveal_runtime.store.replicas import Replicas
    from foveal_runtime.store.schema import Collection

T = TypeVar("T")
_DELETED_AT_ONCE = 100
"""Entries of one transaction: short enough that writers of the same entries hardly wait."""


class Archive(Reading):
    """An open collection. Made by `open`; safe to use from many tasks of one event loop."""

    def __init__(
        self, database: Database, collection: Collection, options: StoreOptions, replicas: Replicas | None = None
    ) -> None:
        super().__init__(database, collection, options, replicas)
        self._written = 0
        self._grouped = GroupedWrites(self.upsert)
        self._recall: dict[str, float] = {}

    @classmethod
    async def open(
        cls,
        location: str | Path,
        *,
        space_id: str,
        dim: int = 256,
        collection: str = "default",
        create: bool = True,
        options: StoreOptions | None = None,
        replicas: Sequence[str] = (),
    ) -> Archive:
        """Open a collection, and create it when it is new.

        Args:
            location: a folder for the embedded PostgreSQL, or a `postgresql://` URL.
            space_id: embedding space of every vector that will be stored or searched.
            dim: components of a vector.
            collection: name of the collection in that database.
            create: False refuses a collection that does not exist.
            options: None takes the defaults.
            replicas: `postgresql://` URLs of streaming standbys of that database, which answer searches and listings while they
                are well; one that is not is no error.

        Raises:
            SpaceMismatchError: the collection holds vectors of another space.
            NotFoundError: it does not exist and `create` is False.
            StoreError: PostgreSQL is unreachable or too old, the folder is in use or unusable.
            ConfigError: the location is neither a usable folder name nor a URL PostgreSQL understands.
        """
        from foveal_runtime.store.database import Database

        options = options or StoreOptions()
        database = await Database.open(location, options)
        try:
            return await cls.within(
                database,
                space_id=space_id,
                dim=dim,
                collection=collection,
                create=create,
                options=options,
                replicas=replicas,
            )
        except BaseException:
            await database.close()
            raise

    @classmethod
    async def within(
        cls,
        database: Database,
        *,
        space_id: str,
        dim: int,
        collection: str = "default",
        create: bool = True,
        options: StoreOptions,
        replicas: Sequence[str] = (),
    ) -> Archive:
        """Open a collection of a database that is open; it is closed with the archive.

        Args:
            database: opened with the same options.
            space_id: see `open`, as for the others.
            dim: components of a vector.
            collection: its name.
            create: False refuses a collection that does not exist.
            options: of the archive.
            replicas: of the database.

        Raises:
            SpaceMismatchError, NotFoundError, StoreError, ConfigError: see `open`; the database stays open then.
        """
        from foveal_runtime.store.position import Position
        from foveal_runtime.store.replicas import Replicas
        from foveal_runtime.store.schema import open_collection

        key_id = PatientRefs(options.patient_key).key_id if options.patient_key is not None else ""
        found = await database.run(
            lambda c: open_collection(c, collection, space_id=space_id, dim=dim, create=create, patient_key_id=key_id)
        )
        archive = cls(database, found, options, Replicas(replicas, database, options) if replicas else None)
        await archive._keeper.look()
        if archive._replicas is not None:
            # The collection itself may be new: a standby without it is not asked.
            archive._written_bytes = (await database.run(Position.of)).log_bytes
            await archive._replicas.start()
        if options.maintain:
            archive._keeper.start()
        return archive

    @classmethod
    async def inspect(
        cls, location: str | Path, *, collection: str = "default", options: StoreOptions | None = None
    ) -> Archive:
        """Open a collection that exists, whatever its space, next to a foveal that serves it. For `foveal store` commands.

        Raises:
            NotFoundError: it does not exist.
            StoreError, PreconditionError, ConfigError: see `open`.
        """
        from foveal_runtime.store.database import Database
        from foveal_runtime.store.schema import all_collections

        options = options or StoreOptions(maintain=False)
        database = await Database.open(location, options, attach=True)
        try:
            found = await database.run(all_collections)
            for each in found:
                if each.name == collection:
                    archive = cls(database, each, options)
                    await archive._keeper.look()
                    return archive
            names = ", ".join(each.name for each in found) or "none"
            raise NotFoundError(f"there is no collection {collection!r} in {database.place}; there are: {names}")
        except BaseException:
            await database.close()
            raise

    @property
    def server(self) -> EmbeddedPostgres | None:
        """The embedded PostgreSQL, None for a URL."""
        return self._database.server

    @property
    def database(self) -> Database:
        """The database the collection is in."""
        return self._database

    @property
    def collection(self) -> Collection:
        """The collection as it was when it was opened."""
        return self._collection

    def beside(self, collection: Collection) -> Archive:
        """Another collection of the same database, over the same connections; closed with this one."""
        return Archive(self._database, collection, self.options)

    async def upsert(self, entries: Sequence[Entry]) -> int:
        """Store entries, all or none, durable on return. Each replaces all that was stored under its id, facts and vectors of
        every kind; of several with one id the last wins.

        Returns:
            How many were new or changed.

        Raises:
            InputError: an entry is unusable; nothing was stored.
        """
        if not entries:
            return 0
        vectors = check_entries(entries, self.dim)
        facts = {entry.id: rows.to_row(entry, self._patients) for entry in entries}
        tables, oid = self._collection.tables, self._database.halfvec_oid
        written = await self._write(lambda c: statements.write(c, tables, facts, vectors, oid))
        self._written += written
        if self._written >= self.options.index_from_rows:
            self._written = 0
            self._keeper.nudge()
        return written

    async def upsert_one(self, entry: Entry) -> None:
        """`upsert` of one entry of many that come one by one, with those that come meanwhile. Durable on return.

        Raises:
            FovealError: see `upsert`; it was not stored.
        """
        await self._grouped.store(entry)

    async def update(self, entry_id: str, changes: Mapping[str, Any]) -> Entry:
        """Change some facts of a stored entry; its vectors stay. Durable on return.

        Args:
            entry_id: of the entry.
            changes: new values by name, of `CHANGEABLE`.

        Returns:
            The entry as it is then, with the kinds of its vectors and without them.

        Raises:
            InputError: no fact is named, one that can't be changed, or a value that is illegal.
            NotFoundError: nothing is stored under that id.
        """
        if not changes or not set(changes) <= set(CHANGEABLE):
            raise InputError(f"an update names none or an unknown fact; name some of {', '.join(CHANGEABLE)}")
        wanted, tables = check_id(entry_id), self._collection.tables
        changed = await self._write(lambda c: statements.update(c, tables, wanted, changes, self._patients))
        if changed is None:
            raise NotFoundError("no entry is stored under that id; list the archive, or upsert it")
        return changed

    async def delete(self, ids: Iterable[str], *, kind: str | None = None) -> Removed:
        """Remove these entries, or their vectors of one kind. Unknown ids are no error."""
        wanted, kinds = check_ids(ids), kinds_of(kind)
        return await self._write(lambda c: statements.delete(c, self._collection.tables, kinds, wanted))

    async def delete_where(self, filter: Filter, *, dry_run: bool = False) -> Removed:
        """Remove every entry that passes the filter, a hundred at a time in the order of their ids: each hundred is gone
        whole, and a call that was ended half way goes on where it stopped when it is made again.

        Args:
            filter: which entries. One that is stored meanwhile goes too if its id is yet to come.
            dry_run: count and remove nothing.

        Raises:
            InputError: an unusable filter.
        """
        condition = compile_filter(filter, patient_ref=self._patient_ref)
        if dry_run:
            return Removed(entries=await self.count_entries(filter), vectors=await self.count(filter=filter))
        tables = self._collection.tables
        entries = vectors = 0
        after: str | None = ""
        while after is not None:
            removed, after = await self._write(
                lambda c, after=after: statements.delete_some(c, tables, condition, after, _DELETED_AT_ONCE)  # type: ignore[misc]
            )
            entries, vectors = entries + removed.entries, vectors + removed.vectors
        return Removed(entries=entries, vectors=vectors)

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`_run` for what changes the collection; where searches do not ask the owner, it is noted how far standbys must be."""
        from foveal_runtime.store.position import Position

        if self._replicas is None or self.options.replica_reads is not ReplicaReads.OWN_WRITES:
            return await self._run(work)

        async def noted(connection: AsyncConnection) -> tuple[T, Position]:
            return await work(connection), await Position.of(connection)

        result, position = await self._run(noted)
        self._written_bytes = max(self._written_bytes, position.log_bytes)
        return result

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """How each standby is, in the order in which they were named."""
        return () if self._replicas is None else self._replicas.statuses

    @property
    def reads_by_owner(self) -> int:
        """Searches and listings that a standby might have answered and the owner did; 0 without standbys."""
        return 0 if self._replicas is None else self._replicas.reads_by_owner

    async def alive(self) -> bool:
        """Whether PostgreSQL answers right now. Never raises, never waits longer than two seconds."""
        try:
            async with asyncio.timeout(2.0):
                return await self._database.ping()
        except TimeoutError:
            return False

    async def stats(self) -> Stats:
        """What the collection holds; counts every vector, so not for every request."""
        await self._keeper.look()
        indexed = {kind: self._keeper.is_indexed(kind) for kind in KINDS}
        return await self._run(lambda c: gather(c, self._collection, indexed=indexed, recall=self._recall))

    async def indexed_kinds(self) -> tuple[str, ...]:
        """Kinds that an approximate index answers for."""
        await self._keeper.look()
        return tuple(kind for kind in KINDS if self._keeper.is_indexed(kind))

    def note_recall(self, recall: Mapping[str, float]) -> None:
        """Keep what was found of each indexed kind's recall, for `stats`."""
        self._recall = dict(recall)

    async def build_indexes(self) -> None:
        """Build the indexes that are due now, and return when they are there. `maintain` does the same by itself."""
        await self._keeper.build_now()

    async def close(self) -> None:
        """Give back the connections, and stop the embedded PostgreSQL. Idempotent."""
        await self._grouped.close()
        await self._keeper.stop()
        if self._replicas is not None:
            await self._replicas.close()
        await self._database.close()
