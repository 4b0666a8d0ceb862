"""Qdrant's client in local mode: SQLite beneath NumPy, every vector compared. A database that needs no server."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

NAME = "eyes"


class Peer:
    """`QdrantClient(path=…)`, as its documentation has it for up to 20,000 points. Indexes do nothing in local mode."""

    durable = "upsert returned"

    def __init__(self, variant: str) -> None:
        warnings.simplefilter("ignore")
        self.version = version("qdrant-client")
        self.settings = "QdrantClient(path=...), cosine"
        self.efforts: tuple[int, ...] = (0,)

    def open(self, folder: Path, dim: int) -> None:
        self._client = QdrantClient(path=str(folder / "qdrant"))
        if not self._client.collection_exists(NAME):
            self._client.create_collection(NAME, models.VectorParams(size=dim, distance=models.Distance.COSINE))

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        points = [
            models.PointStruct(id=first + i, vector=vector.tolist(), payload={"grade": int(grade), "site": int(site)})
            for i, (vector, (grade, site)) in enumerate(zip(vectors_ND, facts_N2, strict=True))
        ]
        self._client.upsert(NAME, points, wait=True)

    def save(self) -> None:
        """`upsert` has."""

    def build(self) -> None:
        """There is no index."""

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        wanted = [models.FieldCondition(key=name, match=models.MatchValue(value=value)) for name, value in where.items()]
        chosen = models.Filter(must=list(wanted)) if where else None
        found = self._client.query_points(NAME, query=query_D.tolist(), limit=k, query_filter=chosen, with_payload=False)
        return [int(point.id) for point in found.points]

    def ids(self) -> Any:
        found, after = [], None
        while True:
            points, after = self._client.scroll(NAME, limit=10_000, offset=after, with_payload=False)
            found += [point.id for point in points]
            if after is None:
                return np.array(found, np.int64)

    def close(self) -> None:
        self._client.close()
