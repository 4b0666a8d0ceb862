"""USearch: an HNSW graph in memory, saved as one file. A library; its Python interface has no filter."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from usearch.index import Index


class Peer:
    """The defaults of `Index` (connectivity 16, expansion_add 128, its own choice of number format), cosine; `variant` is f32
    to keep vectors as they come, or empty."""

    durable = "Index.save in place after each batch; the library has nothing else"

    def __init__(self, variant: str) -> None:
        self.version = version("usearch")
        self._dtype = variant or None
        self.settings = f"Index(metric='cos', dtype={self._dtype!r}), other defaults"
        self.efforts: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)

    def open(self, folder: Path, dim: int) -> None:
        self._file = folder / "index.usearch"
        self._index = Index(ndim=dim, metric="cos", dtype=self._dtype)
        self.settings += f" (stored as {self._index.dtype})"
        if self._file.exists():
            self._index.load(str(self._file))

    def add(self, first: int, vectors_ND: Any, facts_N2: Any) -> None:
        import numpy as np

        self._index.add(np.arange(first, first + len(vectors_ND)), vectors_ND)

    def save(self) -> None:
        self._index.save(str(self._file))

    def build(self) -> None:
        """The graph grows as vectors come."""

    def search(self, query_D: Any, k: int, effort: int, where: dict[str, int]) -> list[int]:
        if where:
            raise NotImplementedError("no filter in the Python interface")
        if self._index.expansion_search != effort:
            self._index.expansion_search = effort
        return [int(i) for i in self._index.search(query_D, k).keys]

    def ids(self) -> Any:
        import numpy as np

        return np.array(self._index.keys).astype(np.int64)

    def close(self) -> None:
        """Nothing is open."""
