"""Upsert, get, delete, search and count against numpy, on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from foveal_runtime.errors import InputError, NotFoundError, SpaceMismatchError
from foveal_runtime.store import Archive, Column, Entry, Equals, Removed, StoreOptions, statements

from .conftest import DIM, SPACE, entry, make_entries, unit_vectors, vector_of


async def test_search_returns_the_same_neighbours_as_numpy(archive: Archive) -> None:
    items = make_entries(300)
    assert await archive.upsert(items) == 300
    query_D = unit_vectors(1, seed=9)[0]
    result = await archive.search(query_D, kind="image", k=10)
    cosines = np.stack([vector_of(i) for i in items]) @ query_D
    best = np.argsort(-cosines)[:10]
    assert result.exact
    assert [hit.id for hit in result.hits] == [items[i].id for i in best]
    np.testing.assert_allclose([hit.score for hit in result.hits], cosines[best], atol=2e-4)


async def test_every_fact_comes_back_as_it_was_stored(archive: Archive) -> None:
    item = entry(
        id="an id: 'with' quotes, ünïcode %s",
        kind="joint",
        vector=unit_vectors(1)[0],
        content_sha256=bytes(range(32)),
        source="folder/photo.jpg",
        patient="p-1",
        eye="left",
        camera="Canon CR-2",
        site="Ward; DROP TABLE x",
        acquired=date(2024, 2, 29),
        icdr=3,
        referable=True,
        precision="int8",
        attributes={"device": "portable", "ключ": "значение"},
    )
    await archive.upsert([item])
    [stored] = await archive.get([item.id])
    assert stored == item
    np.testing.assert_allclose(vector_of(stored), vector_of(item), rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize("n", [3, 600])  # the pipelined way and the COPY way
async def test_last_write_wins_and_an_unchanged_item_is_not_written(archive: Archive, n: int) -> None:
    items = make_entries(n)
    await archive.upsert(items)
    assert await archive.upsert(items) == 0
    changed = [entry(id=items[0].id, kind="image", vector=vector_of(items[1]), icdr=4), *items[1:]]
    assert await archive.upsert([items[0], *changed]) == 1
    [stored] = await archive.get([items[0].id])
    assert stored.icdr == 4
    assert await archive.count() == n


async def test_kinds_do_not_mix(archive: Archive) -> None:
    vectors = unit_vectors(2)
    await archive.upsert([Entry(id="x", vectors={"image": vectors[0], "text": vectors[1]})])
    assert [h.kind for h in (await archive.search(vectors[1], kind="image", k=5)).hits] == ["image"]
    assert await archive.count(kind="text") == 1
    assert await archive.count() == 2
    assert await archive.known(["x", "y"], kind="text") == {"x"}
    assert await archive.delete(["x"], kind="image") == Removed(entries=0, vectors=1)
    assert [list(i.vectors) for i in await archive.get(["x"])] == [["text"]]
    assert await archive.delete(["x", "never stored"]) == Removed(entries=1, vectors=1)
    assert await archive.count_entries() == 0


async def test_a_batch_with_one_bad_item_stores_nothing(archive: Archive) -> None:
    good, bad = make_entries(2)
    with pytest.raises(InputError, match="length"):
        await archive.upsert([good, entry(id=bad.id, kind="image", vector=np.zeros(DIM, np.float32))])
    assert await archive.count() == 0


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(255, np.float32), "dimension 255"),
        (np.full(DIM, np.nan, np.float32), "not finite"),
        (np.full(DIM, np.inf, np.float32), "not finite"),
        (np.zeros(DIM, np.float32), "length 0"),
        (np.ones((1, DIM), np.float32), "dimension 1x256"),
    ],
)
async def test_an_unusable_query_vector_is_named(archive: Archive, vector: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        await archive.search(vector, kind="image")


@pytest.mark.parametrize("k", [0, -1, 10**9, 1.5])
async def test_an_unusable_k_is_refused(archive: Archive, k: int) -> None:
    with pytest.raises(InputError, match="k is"):
        await archive.search(unit_vectors(1)[0], kind="image", k=k)


async def test_an_unknown_kind_is_refused(archive: Archive) -> None:
    with pytest.raises(InputError, match="image, text, structured, joint"):
        await archive.search(unit_vectors(1)[0], kind="picture")


async def test_a_hundred_megabytes_of_attributes_are_refused(archive: Archive) -> None:
    item = entry(id="x", kind="image", vector=unit_vectors(1)[0], attributes={"a": "x" * 100_000_000})
    with pytest.raises(InputError, match="more than 16384 bytes"):
        await archive.upsert([item])


async def test_another_space_is_refused_with_both_ids(store_url: str, archive: Archive, collection_name: str) -> None:
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{'b' * 64}"):
        await Archive.open(store_url, space_id="b" * 64, collection=collection_name)


async def test_an_unknown_collection_is_not_made_by_a_reader(store_url: str) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        await Archive.open(store_url, space_id=SPACE, collection="nowhere", create=False)


async def test_items_survive_a_restart(store_parent: object) -> None:
    from pathlib import Path

    folder = Path(str(store_parent)) / "store"
    items = make_entries(5)
    options = StoreOptions(maintain=False)
    first = await Archive.open(folder, space_id=SPACE, options=options)
    assert await first.alive()
    await first.upsert(items)
    await first.close()
    assert not await first.alive()
    second = await Archive.open(folder, space_id=SPACE, options=options)
    try:
        assert await second.get([i.id for i in items]) == items
    finally:
        await second.close()


@pytest.mark.parametrize("n", [3, 600])  # the pipelined way and the COPY way
async def test_an_entry_replaces_all_that_was_stored_under_its_id(archive: Archive, n: int) -> None:
    vectors = unit_vectors(n)
    both = [Entry(id=f"e-{i}", vectors={"image": v, "text": v}, site="Porto") for i, v in enumerate(vectors)]
    await archive.upsert(both)
    assert await archive.upsert(both) == 0
    again = [Entry(id=f"e-{i}", vectors={"image": v}, site="Braga") for i, v in enumerate(vectors)]
    assert await archive.upsert(again) == n
    stored = await archive.get([each.id for each in again])
    assert {(each.site, *each.vectors) for each in stored} == {("Braga", "image")}
    assert (await archive.search(vectors[0], kind="text", k=5)).hits == ()


async def test_facts_change_while_vectors_stay(archive: Archive) -> None:
    (vector_D,) = unit_vectors(1)
    await archive.upsert([Entry(id="x", vectors={"image": vector_D}, site="Porto", icdr=2, attributes={"a": "1"})])
    changed = await archive.update("x", {"site": "Braga", "icdr": None})
    assert (changed.site, changed.icdr, changed.attributes) == ("Braga", None, {"a": "1"})
    (stored,) = await archive.get(["x"])
    assert stored == changed
    np.testing.assert_allclose(vector_of(stored), vector_D, atol=1e-3)
    with pytest.raises(NotFoundError, match="no entry is stored under that id"):
        await archive.update("y", {"site": "Braga"})
    with pytest.raises(InputError, match="name some of"):
        await archive.update("x", {"id": "z"})
    with pytest.raises(InputError, match="not a grade from 0 to 4"):
        await archive.update("x", {"icdr": 7})


async def test_pages_give_every_entry_once_in_the_order_of_ids(archive: Archive) -> None:
    entries = make_entries(25)
    await archive.upsert(entries)
    seen: list[str] = []
    while page := await archive.page(after=seen[-1] if seen else "", count=7, filter=Equals(Column.EYE, "left")):
        seen += [each.id for each in page]
        assert all(each.vectors == {"image": None} for each in page)
    assert seen == [each.id for each in entries if each.eye == "left"]
    (first,) = await archive.page(count=1, with_vectors=True)
    np.testing.assert_allclose(vector_of(first), vector_of(entries[0]), atol=1e-3)


async def test_a_patient_is_erased_whole_also_when_the_first_call_ends_half_way(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = [replace(each, patient="p") for each in make_entries(50, prefix="mine")]
    others = make_entries(20, prefix="other")
    await archive.upsert([*mine, *others])
    chosen = Equals(Column.PATIENT, "p")
    monkeypatch.setattr("foveal_runtime.store.archive._DELETED_AT_ONCE", 10)
    assert await archive.delete_where(chosen, dry_run=True) == Removed(entries=50, vectors=50)
    assert await archive.count_entries() == 70
    delete_some, calls = statements.delete_some, []

    async def ends_half_way(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return await delete_some(*args)

    monkeypatch.setattr(statements, "delete_some", ends_half_way)
    with pytest.raises(RuntimeError, match="killed"):
        await archive.delete_where(chosen)
    assert await archive.count_entries(chosen) == 30
    assert await archive.delete_where(chosen) == Removed(entries=30, vectors=30)
    assert await archive.count_entries(chosen) == 0
    assert [each.id for each in await archive.page(count=100)] == [each.id for each in others]
