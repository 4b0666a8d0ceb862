"""Milvus Lite through pymilvus: a local file, log and segments in Python, FAISS's HNSW over each segment. A database."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

NAME = "eyes"
# The client pings an idle connection every 10 s by default, which its local server answers by ending it ("too_many_pings").
NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}


class Peer:
    """HNSW with the parameters of its documentation's example (M 16, efConstruction 200), cosine; inverted index on what is
    filtered."""

    durable = "insert returned (write-ahead log)"

    def __init__(self, variant: str) -> None:
        self.version = version("milvus-lite")
        self.settings = "HNSW M=16 efConstruction=200, cosine; inverted indexes on grade and site; flush after the load"
        self.efforts: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128, 192, 256)

    def open(self, folder: Path, dim: int) -> None:
        self._client = MilvusClient(str(folder / "eyes.db"), grpc_options=NO_PINGS)
        if self._client.has_collection(NAME):
            self._client.load_collection(NAME)
            return
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("grade", DataType.INT16)
        schema.add_field("site", DataType.INT16)
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
        for field in ("grade", "site"):
            index.add_index(field, index_type="INVERTED")
        self._client.create_collection(NAME, schema=schema, index_params=index)

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        rows = [
            {"id": first + i, "vector": vector, "grade": int(grade), "site": int(site)}
            for i, (vector, (grade, site)) in enumerate(zip(vectors_ND, facts_N2, strict=True))
        ]
        for start in range(0, len(rows), 5_000):  # a gRPC message
            self._client.insert(NAME, rows[start : start + 5_000])

    def save(self) -> None:
        """`insert` has."""

    def build(self) -> None:
        self._client.flush(NAME)
        self._client.load_collection(NAME)

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        chosen = " and ".join(f"{name} == {value}" for name, value in where.items())
        parameters = {"metric_type": "COSINE", "params": {"ef": effort}}
        (found,) = self._client.search(NAME, data=[query_D], limit=k, filter=chosen, search_params=parameters)
        return [int(hit["id"]) for hit in found]

    def ids(self) -> Any:
        walk = self._client.query_iterator(NAME, batch_size=1_000, output_fields=["id"])
        found: list[int] = []
        while page := walk.next():
            found += [row["id"] for row in page]
        walk.close()
        return np.array(found, np.int64)

    def close(self) -> None:
        self._client.close()
