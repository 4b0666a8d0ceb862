"""Qdrant Edge: the storage and HNSW of Qdrant's server inside the process, with its write-ahead log. A database."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    MatchValue,
    PayloadSchemaType,
    Point,
    Query,
    ScrollRequest,
    SearchParams,
    SearchRequest,
    UpdateOperation,
)


class Peer:
    """Defaults of the shard (HNSW m 16, ef_construct 100, write-ahead log on), integer indexes on what is filtered, `optimize`
    after the load."""

    durable = "update returned (write-ahead log)"

    def __init__(self, variant: str) -> None:
        self.version = version("qdrant-edge-py")
        self.settings = "EdgeShard, cosine, defaults; payload indexes on grade and site; optimize() after the load"
        self.efforts: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)

    def open(self, folder: Path, dim: int) -> None:
        place = folder / "shard"
        if place.exists():
            self._shard = EdgeShard.load(str(place))
            return
        place.mkdir()
        self._shard = EdgeShard.create(str(place), EdgeConfig(vectors=EdgeVectorParams(size=dim, distance=Distance.Cosine)))
        for field in ("grade", "site"):
            self._shard.update(UpdateOperation.create_field_index(field, PayloadSchemaType.Integer))

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        points = [
            Point(id=first + i, vector=vector.tolist(), payload={"grade": int(grade), "site": int(site)})
            for i, (vector, (grade, site)) in enumerate(zip(vectors_ND, facts_N2, strict=True))
        ]
        self._shard.update(UpdateOperation.upsert_points(points))

    def save(self) -> None:
        """`update` has."""

    def build(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        wanted = [FieldCondition(key=name, match=MatchValue(value)) for name, value in where.items()]
        request = SearchRequest(
            query=Query.Nearest(query_D.tolist()),
            limit=k,
            filter=Filter(must=wanted) if where else None,
            params=SearchParams(hnsw_ef=effort),
        )
        return [int(point.id) for point in self._shard.search(request)]

    def ids(self) -> Any:
        found: list[int] = []
        after = None
        while True:
            points, after = self._shard.scroll(ScrollRequest(limit=10_000, offset=after, with_payload=False))
            found += [point.id for point in points]
            if after is None:
                return np.array(found, np.int64)

    def close(self) -> None:
        self._shard.close()
