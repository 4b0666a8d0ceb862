"""One embedded PostgreSQL for the session; every test gets a collection of its own on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg.conninfo import make_conninfo
from servers import reachable_folder

from foveal_runtime.store import Archive, Entry, StoreOptions
from foveal_runtime.store.entry import Float32
from foveal_runtime.store.postgres import OWNER_ROLE, ROOT_ROLE, EmbeddedPostgres

SPACE = "a" * 64
DIM = 256

OpenArchive = Callable[..., "object"]


@pytest.fixture
def store_parent() -> Iterator[Path]:
    """A reachable empty folder, to make store folders in."""
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running embedded PostgreSQL."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "store")
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def store_url(request: pytest.FixtureRequest) -> str:
    """The running server as a URL, as its owner; FOVEAL_TEST_POSTGRES_URL names another server's, as its superuser
    (`make test-postgresql`)."""
    if elsewhere := os.environ.get("FOVEAL_TEST_POSTGRES_URL"):
        return elsewhere
    postgres: EmbeddedPostgres = request.getfixturevalue("postgres")
    info = dict(part.split("=", 1) for part in postgres.conninfo(OWNER_ROLE).split())
    return f"postgresql://{OWNER_ROLE}@/foveal?host={info['host']}"


@pytest.fixture(scope="session")
def superuser(request: pytest.FixtureRequest) -> Callable[..., str]:
    """How a superuser of that server reaches a database of it; without a name the store's."""
    elsewhere = os.environ.get("FOVEAL_TEST_POSTGRES_URL")

    def conninfo(database: str = "foveal") -> str:
        if elsewhere:
            return make_conninfo(elsewhere, dbname=database)
        postgres: EmbeddedPostgres = request.getfixturevalue("postgres")
        return postgres.conninfo(ROOT_ROLE, database)

    return conninfo


_numbers = itertools.count()


@pytest.fixture
def collection_name() -> str:
    """A name no other test uses."""
    return f"test-{next(_numbers)}"


@pytest.fixture
async def archive(store_url: str, collection_name: str) -> AsyncIterator[Archive]:
    """An empty collection."""
    opened = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=StoreOptions(maintain=False))
    yield opened
    await opened.close()


def orphaned(folder: Path) -> int:
    """Process of a PostgreSQL of this folder that runs on as if foveal had gone without the kernel's help: nobody holds it."""
    gone = EmbeddedPostgres(folder)
    gone.start()
    pid = gone.pid
    assert pid is not None
    gone._stopping.set()
    gone._lock.release()
    return pid


def unit_vectors(n: int, *, seed: int = 0, dim: int = DIM) -> Float32:
    """`n` random unit vectors."""
    vectors_ND = np.random.default_rng(seed).normal(size=(n, dim))
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True), dtype=np.float32)


def entry(*, id: str, kind: str, vector: Float32, **facts: Any) -> Entry:
    """An entry with one vector."""
    return Entry(id=id, vectors={kind: vector}, **facts)


def vector_of(stored: Entry) -> Float32:
    """The one vector of an entry."""
    (vector_D,) = stored.vectors.values()
    assert vector_D is not None
    return vector_D


def make_entries(n: int, *, seed: int = 0, kind: str = "image", prefix: str = "eye") -> list[Entry]:
    """`n` items whose facts follow from their number."""
    return [
        entry(
            id=f"{prefix}-{i:05d}", kind=kind, vector=v, eye=("left", "right")[i % 2], icdr=i % 5, patient=f"patient-{i // 4}"
        )
        for i, v in enumerate(unit_vectors(n, seed=seed))
    ]
