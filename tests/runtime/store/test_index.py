"""The approximate index: built while serving, by one of several servers, used when there, honest about it, complete."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from foveal_runtime.store import Archive, AttributeEquals, Column, Equals, StoreOptions, rows
from foveal_runtime.store.filter import compile_filter
from foveal_runtime.store.index import wanted
from foveal_runtime.store.recall import check_recall
from foveal_runtime.store.vectors import HalfVector

from .conftest import SPACE, entry, make_entries, unit_vectors, vector_of

LARGE = 800
SMALL_SWITCH = StoreOptions(maintain=False, index_from_rows=LARGE, exact_filter_cost=0.0)
"""An index from 800 rows on, and filters answered by it whatever they keep."""


@pytest.fixture
async def large(store_url: str, collection_name: str) -> Archive:
    """A collection just large enough, indexed."""
    archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=SMALL_SWITCH)
    items = [
        entry(id=i.id, kind="image", vector=vector_of(i), eye=i.eye, icdr=i.icdr, attributes={"rare": str(n % 100)})
        for n, i in enumerate(make_entries(LARGE))
    ]
    await archive.upsert(items)
    await archive.build_indexes()
    return archive


async def test_a_small_collection_is_searched_exactly(archive: Archive) -> None:
    await archive.upsert(make_entries(50))
    await archive.build_indexes()
    assert (await archive.search(unit_vectors(1)[0], kind="image")).exact
    assert not (await archive.stats()).indexed["image"]


async def test_a_large_collection_is_searched_by_its_index_and_exactly_on_demand(large: Archive) -> None:
    query_D = unit_vectors(1, seed=5)[0]
    fast = await large.search(query_D, kind="image", k=10)
    true = await large.search(query_D, kind="image", k=10, exact=True)
    assert (fast.exact, true.exact) == (False, True)
    assert len({h.id for h in fast.hits} & {h.id for h in true.hits}) >= 8
    assert [h.score for h in fast.hits] == sorted((h.score for h in fast.hits), reverse=True)
    recall = await check_recall(large, kind="image", sample=20)
    assert recall is not None
    assert recall.recall >= 0.95
    assert not recall.exact
    await large.close()


@pytest.fixture
def index_url(superuser: Callable[..., str], store_url: str) -> Iterator[str]:
    """Where the planner takes the index although so small a table is read faster from end to end."""
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("ALTER DATABASE foveal SET enable_seqscan = off")
        yield store_url
        connection.execute("ALTER DATABASE foveal RESET enable_seqscan")


def index_scans(superuser: Callable[..., str]) -> int:
    """How often any approximate index was asked so far."""
    with psycopg.connect(superuser(), autocommit=True) as connection:
        row = connection.execute("SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE indexrelname LIKE '%hnsw%'").fetchone()
    assert row is not None
    return int(row[0] or 0)


async def test_near_neighbours_come_in_the_order_of_their_distance_and_none_is_missed_by_more_than_float16(
    superuser: Callable[..., str], index_url: str, collection_name: str
) -> None:
    """The index's own order errs by the 11 bits of its float16, which is more than parts a trained model's neighbours."""
    archive = await Archive.open(index_url, space_id=SPACE, collection=collection_name, options=SMALL_SWITCH)
    rng = np.random.default_rng(3)
    centre_D, noise_ND = rng.normal(size=256), 0.01 * rng.normal(size=(LARGE + 20, 256))
    vectors_ND = centre_D + noise_ND
    vectors_ND = (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(np.float32)
    await archive.upsert([entry(id=str(n), kind="image", vector=v) for n, v in enumerate(vectors_ND[:LARGE])])
    await archive.build_indexes()
    before = index_scans(superuser)
    further = []
    for query_D in vectors_ND[LARGE:]:
        fast = await archive.search(query_D, kind="image", k=10)
        true = await archive.search(query_D, kind="image", k=10, exact=True)
        assert not fast.exact
        assert [h.score for h in fast.hits] == sorted((h.score for h in fast.hits), reverse=True)
        further += [t.score - f.score for t, f in zip(true.hits, fast.hits, strict=True)]
    await archive.close()
    end = time.monotonic() + 5
    while index_scans(superuser) < before + 20:  # counted when a connection ends
        assert time.monotonic() < end, "the index was not asked"
        await asyncio.sleep(0.05)
    assert max(further) < FLOAT16_COSINE


FLOAT16_COSINE = 1e-4
"""Cosines that differ by less are the same to the index."""


def explained(archive: Archive, superuser: Callable[..., str], how: str, *settings: str) -> str:
    """The plan of a search for ten by the index."""
    query_D = unit_vectors(1)[0]
    text, params = rows.index_search(archive.collection.tables, "image", query_D, compile_filter(None), 10, False)
    literal = str(query_D.tolist())
    values = [literal if isinstance(value, HalfVector) else value for value in params]
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off; SET search_path = public; " + "; ".join(settings))
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(f"{how} " + text.replace("<=> %s", "<=> %s::halfvec"), values)
        return "\n".join(row[0] for row in cursor.fetchall())


async def test_facts_of_the_hits_alone_are_read(large: Archive, superuser: Callable[..., str]) -> None:
    """All that the index had found were looked up among the entries, four for each hit: a tenth of a search."""
    plan = explained(
        large, superuser, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF)", "SET enable_hashjoin = off", "SET enable_mergejoin = off"
    )
    looked_up = re.search(r"Index Scan using e\d+_pkey .*loops=(\d+)", plan)
    assert looked_up is not None, plan
    assert looked_up[1] == "10", plan
    await large.close()


async def test_the_planner_cannot_take_the_order_of_the_index_for_that_of_the_distance(
    large: Archive, superuser: Callable[..., str]
) -> None:
    """It did, in large tables: hits came in the index's order, and at a million vectors 13 % of the nearest ten were others."""
    plan = explained(large, superuser, "EXPLAIN", "SET enable_sort = off")
    assert "_hnsw" in plan
    assert "Incremental Sort" not in plan, plan
    await large.close()


async def test_a_filtered_search_gives_k_results_when_k_exist(large: Archive) -> None:
    query_D = unit_vectors(1, seed=6)[0]
    common = await large.search(query_D, kind="image", k=10, filter=Equals(Column.EYE, "left"))
    assert len(common.hits) == 10
    assert {h.eye for h in common.hits} == {"left"}
    rare = await large.search(query_D, kind="image", k=8, filter=AttributeEquals("rare", "7"))
    assert len(rare.hits) == LARGE // 100
    everything = await large.search(query_D, kind="image", k=1000)
    assert len(everything.hits) == LARGE
    assert everything.exact, "the index ran dry, so every item was compared"
    await large.close()


async def test_results_stay_complete_after_deletes(large: Archive) -> None:
    query_D = unit_vectors(1, seed=7)[0]
    nearest = await large.search(query_D, kind="image", k=100)
    await large.delete([h.id for h in nearest.hits])
    after = await large.search(query_D, kind="image", k=10)
    assert len(after.hits) == 10
    assert not {h.id for h in after.hits} & {h.id for h in nearest.hits}
    await large.close()


async def test_the_background_keeper_builds_what_is_due_while_writes_go_on(store_url: str, collection_name: str) -> None:
    options = StoreOptions(index_from_rows=LARGE, maintain_every_s=0.05)
    archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=options)
    try:
        await archive.upsert(make_entries(LARGE))
        async with asyncio.timeout(30):
            number = 0
            while not (await archive.stats()).indexed["image"]:
                number += 1
                await archive.upsert(make_entries(1, seed=number, prefix=f"late-{number}"))
        assert await archive.count() == LARGE + number
    finally:
        await archive.close()


async def test_two_servers_build_an_index_once(store_url: str, collection_name: str) -> None:
    archives = [
        await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=SMALL_SWITCH) for _ in range(2)
    ]
    try:
        await archives[0].upsert(make_entries(LARGE))
        await asyncio.gather(*(a.build_indexes() for a in archives))
        for archive in archives:
            assert (await archive.stats()).indexed["image"]
    finally:
        for archive in archives:
            await archive.close()


async def test_what_a_killed_build_left_is_built_again(large: Archive, superuser: Callable[..., str]) -> None:
    name = wanted(large.collection.tables.vectors["image"])[0].name
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"foveal.{name}",))
    assert not (await large.stats()).indexed["image"]
    assert (await large.search(unit_vectors(1)[0], kind="image")).exact
    await large.build_indexes()
    assert not (await large.search(unit_vectors(1)[0], kind="image")).exact
    await large.close()
