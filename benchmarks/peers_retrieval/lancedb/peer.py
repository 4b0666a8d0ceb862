"""LanceDB: columns on disk, one version a write, with IVF-PQ (its default) or IVF-HNSW-SQ over them. A database."""

from __future__ import annotations

import warnings
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

NAME = "eyes"


class Peer:
    """`variant` is `ivf_pq`, with its refining of candidates, or `hnsw_sq`, one partition a million rows at most."""

    durable = "add returned (a committed version)"

    def __init__(self, variant: str) -> None:
        self.version = version("lancedb")
        self._graph = variant == "hnsw_sq"
        self.settings = (
            "IVF_HNSW_SQ(num_partitions=1, m=20, ef_construction=300), refine_factor 2"
            if self._graph
            else "IVF_PQ (defaults), refine_factor 10"
        ) + ", cosine; bitmap index on grade, B-tree on site; optimize() after the load"
        self.efforts: tuple[int, ...] = (24, 32, 48, 64, 96, 128, 192, 256, 384) if self._graph else (5, 10, 20, 40, 80, 160)

    def open(self, folder: Path, dim: int) -> None:
        self._dim = dim
        self._database = lancedb.connect(folder / "lance")
        fields = [("id", pa.int64()), ("vector", pa.list_(pa.float32(), dim)), ("grade", pa.int16()), ("site", pa.int16())]
        self._table = self._database.create_table(NAME, schema=pa.schema(fields), exist_ok=True)

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.reshape(-1)), self._dim)
        ids = pa.array(np.arange(first, first + len(vectors_ND)))
        grades, sites = (pa.array(np.ascontiguousarray(facts_N2[:, column])) for column in (0, 1))
        self._table.add(pa.table({"id": ids, "vector": vectors, "grade": grades, "site": sites}))

    def save(self) -> None:
        """`add` has."""

    def build(self) -> None:
        warnings.simplefilter("ignore")  # nobody else reads an older version
        self._table.optimize(cleanup_older_than=timedelta(0))
        if self._graph:
            self._table.create_index("cosine", index_type="IVF_HNSW_SQ", num_partitions=1)
        else:
            self._table.create_index("cosine", index_type="IVF_PQ")
        self._table.create_scalar_index("grade", index_type="BITMAP")
        self._table.create_scalar_index("site", index_type="BTREE")

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        query = self._table.search(query_D).distance_type("cosine").limit(k).select(["id", "_distance"])
        query = query.ef(effort).refine_factor(2) if self._graph else query.nprobes(effort).refine_factor(10)
        if where:
            query = query.where(" AND ".join(f"{name} = {value}" for name, value in where.items()), prefilter=True)
        return [int(i) for i in query.to_arrow()["id"].to_pylist()]

    def ids(self) -> Any:
        return self._table.to_arrow().column("id").to_numpy()

    def close(self) -> None:
        """Nothing is open."""
