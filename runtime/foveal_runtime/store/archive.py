"""One collection of vectors: upsert, delete, get, search, count. SQL is made here; connections are `database`'s.

A collection belongs to one embedding space. Each vector kind has a table of its own, so an index never mixes kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from foveal_runtime.errors import NotFoundError
from foveal_runtime.store import rows, statements
from foveal_runtime.store.filter import Filter, compile_filter
from foveal_runtime.store.item import (
    KINDS,
    Float32,
    Item,
    SearchResult,
    check_ids,
    check_items,
    check_kind,
    check_vector,
    kinds_of,
)
from foveal_runtime.store.options import StoreOptions
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.searcher import Search, check_k
from foveal_runtime.store.stats import Stats, gather
from foveal_runtime.store.vectors import HalfVector

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.postgres import EmbeddedPostgres
    from foveal_runtime.store.schema import Collection

T = TypeVar("T")


class Archive:
    """An open collection. Made by `open`; safe to use from many tasks of one event loop."""

    def __init__(self, database: Database, collection: Collection, options: StoreOptions) -> None:
        from foveal_runtime.store.index import Keeper

        self._database = database
        self._collection = collection
        self.options = options
        """As it was opened."""
        self._patients = PatientRefs(options.patient_key) if options.patient_key is not None else None
        self._keeper = Keeper(database, collection, options)
        self._written = 0
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
    ) -> Archive:
        """Open a collection, and create it when it is new.

        Args:
            location: a folder for the embedded PostgreSQL, or a `postgresql://` URL.
            space_id: embedding space of every vector that will be stored or searched.
            dim: components of a vector.
            collection: name of the collection in that database.
            create: False refuses a collection that does not exist.
            options: None takes the defaults.

        Raises:
            SpaceMismatchError: the collection holds vectors of another space.
            NotFoundError: it does not exist and `create` is False.
            StoreError: PostgreSQL is unreachable or too old, the folder is in use or unusable.
            ConfigError: the location is neither a usable folder name nor a URL PostgreSQL understands.
        """
        from foveal_runtime.store.database import Database
        from foveal_runtime.store.schema import open_collection

        options = options or StoreOptions()
        key_id = PatientRefs(options.patient_key).key_id if options.patient_key is not None else ""
        database = await Database.open(location, options)
        try:
            found = await database.run(
                lambda c: open_collection(c, collection, space_id=space_id, dim=dim, create=create, patient_key_id=key_id)
            )
            archive = cls(database, found, options)
            await archive._keeper.look()
        except BaseException:
            await database.close()
            raise
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
    def space_id(self) -> str:
        """The embedding space of this collection."""
        return self._collection.space_id

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

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self._collection.dim

    async def upsert(self, items: Sequence[Item]) -> int:
        """Store items, all or none, durable on return. Of several with one id and kind the last wins, and over what was stored.

        Returns:
            How many were new or changed.

        Raises:
            InputError: an item is unusable; nothing was stored.
        """
        batches: dict[str, dict[str, tuple[object, ...]]] = {kind: {} for kind in KINDS}
        if not items:
            return 0
        for item, vector in zip(items, HalfVector.all_of(check_items(items, self.dim)), strict=True):
            batches[item.kind][item.id] = rows.to_row(item, vector, self._patients)

        async def work(connection: AsyncConnection) -> int:
            written = 0
            async with connection.transaction():
                for kind, batch in batches.items():
                    if batch:
                        # Sorted, so that two writers of the same ids take their row locks in one order.
                        ordered = [batch[key] for key in sorted(batch)]
                        written += await statements.write(
                            connection, self._collection, kind, ordered, self._database.halfvec_oid
                        )
            return written

        written = await self._run(work)
        self._written += written
        if self._written >= self.options.index_from_rows:
            self._written = 0
            self._keeper.nudge()
        return written

    async def delete(self, ids: Iterable[str], *, kind: str | None = None) -> int:
        """Remove the vectors of these ids, of one kind or of all. Unknown ids are no error.

        Returns:
            How many vectors were removed.
        """
        wanted = check_ids(ids)
        tables = [self._collection.table(k) for k in kinds_of(kind)]
        return await self._run(lambda c: statements.delete(c, tables, wanted))

    async def get(self, ids: Iterable[str], *, kind: str | None = None) -> list[Item]:
        """The stored items of these ids, in the order of the ids, kinds in the order of `KINDS`. Unknown ids are left out."""
        wanted = check_ids(ids)
        kinds = kinds_of(kind)
        found = await self._run(lambda c: statements.items(c, self._collection, kinds, wanted))
        order = {item_id: n for n, item_id in reversed(list(enumerate(wanted)))}
        return sorted(found, key=lambda item: (order[item.id], KINDS.index(item.kind)))

    async def known(self, ids: Iterable[str], *, kind: str) -> set[str]:
        """Those of the ids that are stored with a vector of this kind; what an interrupted indexing run need not do again."""
        wanted = check_ids(ids)
        table = self._collection.table(check_kind(kind))
        return await self._run(lambda c: statements.known(c, table, wanted))

    async def search(
        self,
        vector: Float32,
        *,
        kind: str,
        k: int = 10,
        filter: Filter | None = None,
        exact: bool = False,
        with_vectors: bool = False,
    ) -> SearchResult:
        """The `k` stored vectors of this kind nearest to `vector` by cosine, among the items that pass the filter.

        Args:
            vector: unit length, float32 [dim].
            kind: which vectors to compare with.
            k: results wanted; fewer come back only when fewer exist.
            filter: None compares with every item.
            exact: compare with every item that passes the filter, however many there are.
            with_vectors: give the stored vectors back as well.

        Raises:
            InputError: an unusable vector, kind, k or filter.
        """
        found = Search(
            table=self._collection.table(check_kind(kind)),
            kind=kind,
            query_D=check_vector(vector, self.dim, what="query vector"),
            condition=compile_filter(filter, patient_ref=self._patient_ref),
            k=check_k(k),
            filtered=filter is not None,
            with_vectors=with_vectors,
            index_rows=self._keeper.rows(kind) if not exact and self._keeper.is_indexed(kind) else None,
            exact_filter_cost=self.options.exact_filter_cost,
        )
        return await self._run(found.run)

    def _patient_ref(self, patient: str) -> str:
        return patient if self._patients is None else self._patients.ref(patient)

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`Database.run`, and a clear word when the collection was migrated to another space under our feet.

        Raises:
            SpaceMismatchError: it was.
        """
        from foveal_runtime.store.database import TableGoneError
        from foveal_runtime.store.schema import check_space, find_collection

        try:
            return await self._database.run(work)
        except TableGoneError:
            found = await self._database.run(lambda c: find_collection(c, self._collection.name))
            if found is None:
                raise NotFoundError(f"collection {self._collection.name!r} was dropped; restart to make it anew") from None
            check_space(found, self.space_id, self.dim)
            raise

    async def sample(self, n: int, *, kind: str, seed: int = 0) -> list[tuple[str, Float32]]:
        """A random sample of at most `n` stored vectors with their ids; reads the whole kind once."""
        table = self._collection.table(check_kind(kind))
        return await self._run(lambda c: statements.sample(c, table, n, seed))

    async def count(self, *, kind: str | None = None, filter: Filter | None = None) -> int:
        """Stored vectors that pass the filter, of one kind or of all, counted exactly."""
        condition = compile_filter(filter, patient_ref=self._patient_ref)
        tables = [self._collection.table(each) for each in kinds_of(kind)]
        return await self._run(lambda c: statements.count(c, tables, condition))

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
        await self._keeper.stop()
        await self._database.close()
