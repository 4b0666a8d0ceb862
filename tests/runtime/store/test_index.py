"""The approximate index: built while serving, by one of several servers, used when there, honest about it, complete."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from foveal_runtime.store import Archive, AttributeEquals, Column, Equals, Item, StoreOptions
from foveal_runtime.store.index import wanted
from foveal_runtime.store.postgres import ROOT_ROLE, EmbeddedPostgres
from foveal_runtime.store.recall import check_recall

from .conftest import SPACE, make_items, unit_vectors

LARGE = 800
SMALL_SWITCH = StoreOptions(maintain=False, index_from_rows=LARGE, exact_filter_cost=0.0)
"""An index from 800 rows on, and filters answered by it whatever they keep."""


@pytest.fixture
async def large(store_url: str, collection_name: str) -> Archive:
    """A collection just large enough, indexed."""
    archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=SMALL_SWITCH)
    items = [
        Item(id=i.id, kind=i.kind, vector=i.vector, eye=i.eye, icdr=i.icdr, attributes={"rare": str(n % 100)})
        for n, i in enumerate(make_items(LARGE))
    ]
    await archive.upsert(items)
    await archive.build_indexes()
    return archive


async def test_a_small_collection_is_searched_exactly(archive: Archive) -> None:
    await archive.upsert(make_items(50))
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
        await archive.upsert(make_items(LARGE))
        async with asyncio.timeout(30):
            number = 0
            while not (await archive.stats()).indexed["image"]:
                number += 1
                await archive.upsert(make_items(1, seed=number, prefix=f"late-{number}"))
        assert await archive.count() == LARGE + number
    finally:
        await archive.close()


async def test_two_servers_build_an_index_once(store_url: str, collection_name: str) -> None:
    archives = [
        await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=SMALL_SWITCH) for _ in range(2)
    ]
    try:
        await archives[0].upsert(make_items(LARGE))
        await asyncio.gather(*(a.build_indexes() for a in archives))
        for archive in archives:
            assert (await archive.stats()).indexed["image"]
    finally:
        for archive in archives:
            await archive.close()


async def test_what_a_killed_build_left_is_built_again(large: Archive, postgres: EmbeddedPostgres) -> None:
    name = wanted(large.collection.table("image"))[0].name
    with psycopg.connect(postgres.conninfo(ROOT_ROLE), autocommit=True) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"foveal.{name}",))
    assert not (await large.stats()).indexed["image"]
    assert (await large.search(unit_vectors(1)[0], kind="image")).exact
    await large.build_indexes()
    assert not (await large.search(unit_vectors(1)[0], kind="image")).exact
    await large.close()
