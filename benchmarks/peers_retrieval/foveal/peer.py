"""foveal's archive as it is served: `Archive.search`, which chooses the index or exact comparison, over SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from foveal_runtime.store import AllOf, Archive, Column, Entry, Equals, Filter, StoreOptions
from foveal_runtime.store.index import HNSW_EF_CONSTRUCTION, HNSW_M

KIND = "image"
SPACE = "b" * 64
T = TypeVar("T")


class Peer:
    """The defaults of `StoreOptions`; a collection that is too small for an index by them gets one none the less."""

    durable = "upsert returned (synchronous_commit on)"

    def __init__(self, variant: str) -> None:
        self.version = version("foveal")
        self.settings = f"pgvector HNSW m={HNSW_M} ef_construction={HNSW_EF_CONSTRUCTION}, halfvec, defaults of StoreOptions"
        self.efforts: tuple[int, ...] = (10, 16, 24, 32, 48, 64, 100, 150, 200, 300, 400)
        self._loop = asyncio.new_event_loop()
        self._asked: dict[int, Archive] = {}
        """One connection an effort, open as long as a server's: the turn that warms the others' memory warms its own."""

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _options(self, effort: int = 100) -> StoreOptions:
        return StoreOptions(maintain=False, ef_search=effort, statement_timeout_s=600, index_from_rows=1_000)

    def open(self, folder: Path, dim: int) -> None:
        self._folder = folder / "store"
        self._archive = self._run(Archive.open(self._folder, space_id=SPACE, dim=dim, options=self._options()))

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        entries = [
            Entry(id=f"{first + i:09d}", vectors={KIND: vector}, icdr=int(grade), site=f"site-{site}")
            for i, (vector, (grade, site)) in enumerate(zip(vectors_ND, facts_N2, strict=True))
        ]
        self._run(self._archive.upsert(entries))

    def save(self) -> None:
        """`upsert` has."""

    def build(self) -> None:
        self._run(self._archive.build_indexes())

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        if effort not in self._asked:
            self._asked[effort] = self._run(Archive.inspect(self._folder, options=self._options(effort)))
        found = self._run(self._asked[effort].search(query_D, kind=KIND, k=k, filter=_filter(where)))
        return [int(hit.id) for hit in found.hits]

    def ids(self) -> Any:
        found: list[int] = []
        after = ""
        while page := self._run(self._archive.page(after=after, count=1_000)):
            found += [int(entry.id) for entry in page]
            after = page[-1].id
        return np.array(found, np.int64)

    def close(self) -> None:
        for archive in self._asked.values():
            self._run(archive.close())
        self._run(self._archive.close())


def _filter(where: dict[str, int]) -> Filter | None:
    parts: list[Filter] = []
    if "grade" in where:
        parts.append(Equals(Column.ICDR, where["grade"]))
    if "site" in where:
        parts.append(Equals(Column.SITE, f"site-{where['site']}"))
    return None if not parts else parts[0] if len(parts) == 1 else AllOf(*parts)
