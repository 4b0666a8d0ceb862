"""Who is compared, and the process of each: `serve.py` in an environment of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from environments import python_of
from lines import LineProcess

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A row of what is compared."""

    name: str
    folder: str
    """In peers_retrieval."""
    variant: str = ""
    database: bool = True
    """Keeps what was acknowledged by itself; False: a library that saves a file."""
    filters: bool = True
    most_rows: int | None = None
    """For which its documentation is meant; it is measured with so many at most."""


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(name="foveal", folder="foveal"),
        Contender(name="qdrant-edge", folder="qdrant_edge"),
        Contender(name="qdrant-local", folder="qdrant_local", most_rows=20_000),
        Contender(name="lancedb-ivf-pq", folder="lancedb", variant="ivf_pq"),
        Contender(name="lancedb-hnsw-sq", folder="lancedb", variant="hnsw_sq"),
        Contender(name="milvus-lite", folder="milvus_lite"),
        Contender(name="faiss-hnsw", folder="faiss", variant="hnsw", database=False),
        Contender(name="faiss-flat", folder="faiss", variant="flat", database=False),
        Contender(name="usearch", folder="usearch", database=False, filters=False),
        Contender(name="usearch-f32", folder="usearch", variant="f32", database=False, filters=False),
    )
}


class PeerProcess(LineProcess):
    """A peer on a folder of data; what it can be asked stands in `serve.py`."""

    def __init__(self, contender: Contender, data: Path, dim: int, *, environments: Path, cores: int) -> None:
        """Args:
        contender: who.
        data: folder of its data, kept.
        dim: components of a vector.
        environments: folder of the environments.
        cores: threads that OpenMP may use.
        """
        python = python_of(HERE / contender.folder / "requirements.txt", environments)
        command = (str(python), str(HERE / "serve.py"), str(HERE / contender.folder), contender.variant, str(data), str(dim))
        environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
        if contender.name != "foveal":
            environment.pop("PYTHONPATH", None)
        super().__init__(contender.name, command, environment)
        self.contender = contender
