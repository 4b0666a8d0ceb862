"""A collection is a partition: its tables and indexes are its own, and a search of one reads those of no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from foveal_runtime.store import Archive, Equals, StoreOptions, rows
from foveal_runtime.store.filter import Column, Compiled, compile_filter
from foveal_runtime.store.index import wanted
from foveal_runtime.store.position import Position
from foveal_runtime.store.vectors import HalfVector

from .conftest import SPACE, make_entries, unit_vectors

LARGE = 300
OPTIONS = StoreOptions(maintain=False, index_from_rows=LARGE, exact_filter_cost=0.0)


@pytest.fixture
async def sites(store_url: str, collection_name: str) -> AsyncIterator[list[Archive]]:
    """Two indexed collections of one space in one database."""
    opened = []
    for name, seed in (("north", 1), ("south", 2)):
        archive = await Archive.open(store_url, space_id=SPACE, collection=f"{collection_name}-{name}", options=OPTIONS)
        await archive.upsert(make_entries(LARGE, seed=seed, prefix=name))
        await archive.build_indexes()
        opened.append(archive)
    yield opened
    for archive in opened:
        await archive.close()


def plan(connection: psycopg.Connection[Any], statement: str, params: tuple[object, ...]) -> set[str]:
    """Tables and indexes that a search would read."""
    values = [str(unit_vectors(1)[0].tolist()) if isinstance(value, HalfVector) else value for value in params]
    cursor = psycopg.ClientCursor(connection)
    cursor.execute("EXPLAIN (FORMAT JSON) " + statement.replace("<=> %s", "<=> %s::halfvec"), values)
    row = cursor.fetchone()
    assert row is not None
    found: set[str] = set()

    def walk(node: dict[str, Any]) -> None:
        found.update(node[key] for key in ("Relation Name", "Index Name") if key in node)
        for child in node.get("Plans", ()):
            walk(child)

    walk(row[0][0]["Plan"])
    return found


def own(archive: Archive) -> set[str]:
    """Names of a collection's tables and indexes."""
    tables = [table.split(".", 1)[1] for table in archive.collection.tables.all]
    return {
        *tables,
        *(f"{table}_pkey" for table in tables),
        *(i.name for t in archive.collection.tables.all for i in wanted(t)),
    }


@pytest.mark.parametrize("search", [rows.index_search, rows.exact_search])
@pytest.mark.parametrize("condition", [compile_filter(None), compile_filter(Equals(Column.EYE, "left"))])
async def test_a_search_reads_tables_and_index_of_its_collection_alone(
    sites: list[Archive], superuser: Callable[..., str], search: Callable[..., Any], condition: Compiled
) -> None:
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_sort = on")
        for archive, other in (sites, sites[::-1]):
            tables = archive.collection.tables
            read = plan(connection, *search(tables, "image", unit_vectors(1)[0], condition, 10, False))
            assert read <= own(archive), read
            assert not read & own(other)
            if search is rows.index_search and condition.sql == "TRUE":
                assert f"{tables.vectors['image'].split('.')[1]}_hnsw" in read


def places(connection: psycopg.Connection[Any], archive: Archive) -> dict[str, tuple[int, int]]:
    """Number and file of each table and index of a collection: another file is one that was written anew."""
    cursor = connection.execute(
        "SELECT relname, oid::bigint, relfilenode::bigint FROM pg_class WHERE relname = ANY(%s)", (sorted(own(archive)),)
    )
    return {name: (oid, file) for name, oid, file in cursor.fetchall()}


async def test_what_is_built_again_or_dropped_in_one_collection_leaves_the_others_as_they_are(
    sites: list[Archive], superuser: Callable[..., str]
) -> None:
    north, south = sites
    query_D = unit_vectors(1, seed=9)[0]
    expected = await south.search(query_D, kind="image", k=10)
    assert not expected.exact
    with psycopg.connect(superuser(), autocommit=True) as connection:
        before = places(connection, south)
        assert len(before) > 10
        own_before = places(connection, north)
        for table in north.collection.tables.all:
            connection.execute(f"REINDEX TABLE {table}")
        assert places(connection, north) != own_before, "its own were written anew"
        assert places(connection, south) == before
        connection.execute("DROP TABLE " + ", ".join(reversed(north.collection.tables.all)))
        assert places(connection, north) == {}
        assert places(connection, south) == before
    assert [hit.id for hit in (await south.search(query_D, kind="image", k=10)).hits] == [hit.id for hit in expected.hits]
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("DELETE FROM foveal.collections WHERE name = %s", (north.collection.name,))


async def test_nothing_beyond_pgvector_is_needed(sites: list[Archive], superuser: Callable[..., str]) -> None:
    with psycopg.connect(superuser(), autocommit=True) as connection:
        found = {row[0] for row in connection.execute("SELECT extname FROM pg_extension").fetchall()}
    assert found == {"plpgsql", "vector"}, "a database that has no other does all of this file"


async def test_where_a_server_is_in_its_log_is_told_to_whoever_serves(archive: Archive) -> None:
    before = await archive.database.run(Position.of)
    assert not before.standby
    await archive.upsert(make_entries(1))
    after = await archive.database.run(Position.of)
    assert (after.system, after.database) == (before.system, before.database)
    assert after.log_bytes > before.log_bytes
