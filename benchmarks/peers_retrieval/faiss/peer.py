"""FAISS: a graph (HNSW) or every vector (flat) in memory, saved as one file. A library: filters are bitmaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np


class Peer:
    """`variant` is `hnsw` or `flat`. On unit vectors L2, the default of FAISS's HNSW, orders as the cosine does."""

    durable = "write_index in place after each batch; the library has nothing else"

    def __init__(self, variant: str) -> None:
        self._flat = variant == "flat"
        self.version = faiss.__version__
        self.settings = "IndexFlatL2" if self._flat else "IndexHNSWFlat(M=32), efConstruction=200"
        self.efforts: tuple[int, ...] = (0,) if self._flat else (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
        self._selectors: dict[tuple[tuple[str, int], ...], Any] = {}

    def open(self, folder: Path, dim: int) -> None:
        self._file, self._facts_file = folder / "index.faiss", folder / "facts.npy"
        if self._file.exists():
            self._index = faiss.read_index(str(self._file))
            self._facts = np.load(self._facts_file)
            return
        self._index = faiss.IndexFlatL2(dim) if self._flat else faiss.IndexHNSWFlat(dim, 32)
        if not self._flat:
            self._index.hnsw.efConstruction = 200
        self._facts = np.zeros((0, 2), np.int16)

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        assert first == self._index.ntotal, "FAISS numbers vectors by itself"
        self._index.add(vectors_ND)
        self._facts = np.concatenate([self._facts, facts_N2])

    def save(self) -> None:
        np.save(self._facts_file, self._facts)
        faiss.write_index(self._index, str(self._file))

    def build(self) -> None:
        """The graph grows as vectors come."""

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        selector = self._selector(where) if where else None
        if self._flat:
            parameters = faiss.SearchParameters(sel=selector) if selector else None
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=effort, **({"sel": selector} if selector else {}))
        _, found = self._index.search(query_D[None], k, params=parameters)
        return [int(i) for i in found[0] if i >= 0]

    def _selector(self, where: dict[str, int]) -> Any:
        """Made once a filter and kept, in FAISS's favour."""
        key = tuple(sorted(where.items()))
        if key not in self._selectors:
            columns = {"grade": 0, "site": 1}
            passes = np.logical_and.reduce([self._facts[:, columns[name]] == value for name, value in where.items()])
            bits = np.packbits(passes, bitorder="little")
            self._selectors[key] = (faiss.IDSelectorBitmap(len(passes), faiss.swig_ptr(bits)), bits)
        return self._selectors[key][0]

    def ids(self) -> Any:
        return np.arange(self._index.ntotal)

    def close(self) -> None:
        """Nothing is open."""
