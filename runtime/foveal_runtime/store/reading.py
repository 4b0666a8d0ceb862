"""Reading one collection: get, list, search, sample, count. SQL is `rows`'s, connections are `database`'s."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from foveal_runtime.errors import NotFoundError
from foveal_runtime.store import statements
from foveal_runtime.store.entry import Entry, Float32, SearchResult, check_ids, check_kind, check_vector, kinds_of
from foveal_runtime.store.filter import Filter, compile_filter
from foveal_runtime.store.options import StoreOptions
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.searcher import Search, check_k

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.replicas import Replicas
    from foveal_runtime.store.schema import Collection

T = TypeVar("T")


class Reading:
    """What an open collection answers without being changed; `Archive` adds the rest."""

    def __init__(
        self, database: Database, collection: Collection, options: StoreOptions, replicas: Replicas | None = None
    ) -> None:
        from foveal_runtime.store.index import Keeper

        self._database = database
        self._collection = collection
        self._replicas = replicas
        self._written_bytes = 0
        """Of the owner's log, up to the last write of this collection that was acknowledged here."""
        self.options = options
        """As it was opened."""
        self._patients = PatientRefs(options.patient_key) if options.patient_key is not None else None
        self._keeper = Keeper(database, collection, options)

    @property
    def space_id(self) -> str:
        """The embedding space of this collection."""
        return self._collection.space_id

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self._collection.dim

    async def get(self, ids: Iterable[str], *, kind: str | None = None, with_vectors: bool = True) -> list[Entry]:
        """The stored entries of these ids, in the order of the ids. Unknown ids are left out.

        Args:
            ids: at most `MAX_IDS`.
            kind: of the vectors that are wanted; entries without one are left out. None is every kind.
            with_vectors: False reads which kinds there are and no vector.
        """
        wanted = check_ids(ids)
        tables, kinds = self._collection.tables, kinds_of(kind)
        found = await self._run(lambda c: statements.entries(c, tables, kinds, wanted, with_vectors=with_vectors))
        order = {entry_id: n for n, entry_id in enumerate(wanted)}
        return sorted(found, key=lambda entry: order[entry.id])

    async def page(
        self, *, after: str = "", count: int, filter: Filter | None = None, with_vectors: bool = False
    ) -> list[Entry]:
        """The next entries that pass the filter, in the order of their ids (by bytes).

        Args:
            after: the last id of the page before; empty for the first.
            count: most entries of the page; fewer come back at the end alone.
            filter: None lists all.
            with_vectors: read them, not their kinds alone.
        """
        condition, tables = compile_filter(filter, patient_ref=self._patient_ref), self._collection.tables
        return await self._read(lambda c: statements.page(c, tables, condition, after, count, with_vectors=with_vectors))

    async def known(self, ids: Iterable[str], *, kind: str) -> set[str]:
        """Those of the ids that are stored with a vector of this kind; what an interrupted indexing run need not do again."""
        wanted = check_ids(ids)
        table = self._collection.tables.vectors[check_kind(kind)]
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
        """The `k` stored vectors of this kind nearest to `vector` by cosine, among the entries that pass the filter.

        Args:
            vector: unit length, float32 [dim].
            kind: which vectors to compare with.
            k: results wanted; fewer come back only when fewer exist.
            filter: None compares with every entry.
            exact: compare with every entry that passes the filter, however many there are.
            with_vectors: give the stored vectors back as well.

        Raises:
            InputError: an unusable vector, kind, k or filter.
        """
        found = Search(
            tables=self._collection.tables,
            kind=check_kind(kind),
            query_D=check_vector(vector, self.dim, what="query vector"),
            condition=compile_filter(filter, patient_ref=self._patient_ref),
            k=check_k(k),
            filtered=filter is not None,
            with_vectors=with_vectors,
            index_rows=self._keeper.rows(kind) if not exact and self._keeper.is_indexed(kind) else None,
            exact_filter_cost=self.options.exact_filter_cost,
        )
        return await self._read(found.run)

    def _patient_ref(self, patient: str) -> str:
        return patient if self._patients is None else self._patients.ref(patient)

    async def _read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """`_run` for what costs much and changes nothing: a standby answers where one is well and has what was written."""
        from foveal_runtime.store.replica import OwnerAnswers

        if self._replicas is not None:
            try:
                return await self._replicas.read(work, after_bytes=self._written_bytes)
            except OwnerAnswers:
                pass
        return await self._run(work)

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
        table = self._collection.tables.vectors[check_kind(kind)]
        return await self._read(lambda c: statements.sample(c, table, n, seed))

    async def count(self, *, kind: str | None = None, filter: Filter | None = None) -> int:
        """Stored vectors that pass the filter, of one kind or of all, counted exactly."""
        condition = compile_filter(filter, patient_ref=self._patient_ref)
        return await self._run(lambda c: statements.count(c, self._collection.tables, kinds_of(kind), condition))

    async def count_entries(self, filter: Filter | None = None) -> int:
        """Stored entries that pass the filter, counted exactly."""
        condition = compile_filter(filter, patient_ref=self._patient_ref)
        return await self._run(lambda c: statements.count(c, self._collection.tables, (None,), condition))
