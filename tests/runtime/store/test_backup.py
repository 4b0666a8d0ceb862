"""Dump and restore, the move to another space, and the store's commands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foveal_runtime.cli import store as cli
from foveal_runtime.errors import CheckFailed, ConfigError, NotFoundError, PreconditionError, SpaceMismatchError, StoreError
from foveal_runtime.store import Archive, Entry, StoreOptions, backup
from foveal_runtime.store.database import Database
from foveal_runtime.store.entry import Float32
from foveal_runtime.store.reembed import migrate

from .conftest import SPACE, entry, make_entries, unit_vectors, vector_of

QUIET = StoreOptions(maintain=False, retry_for_s=0.5)
NEW_SPACE = "b" * 64


async def test_a_dump_restores_to_the_same_store(store_parent: Path) -> None:
    items = make_entries(30) + make_entries(10, kind="joint", seed=1)
    archive = await Archive.open(store_parent / "one", space_id=SPACE, options=QUIET)
    try:
        await archive.upsert(items)
        # Another process would attach to the running server in the same way.
        beside = await Database.open(store_parent / "one", QUIET, attach=True)
        assert beside.server is None
        await backup.dump(beside, store_parent / "kept.dump")
        with pytest.raises(ConfigError, match="exists; name a new file"):
            await backup.dump(beside, store_parent / "kept.dump")
        with pytest.raises(PreconditionError, match="already has 1 collections"):
            await backup.restore(beside, store_parent / "kept.dump")
        await beside.close()
    finally:
        await archive.close()
    assert (store_parent / "kept.dump").stat().st_mode & 0o077 == 0
    whole = (store_parent / "kept.dump").read_bytes()
    (store_parent / "broken.dump").write_bytes(whole[: len(whole) * 3 // 4])

    database = await Database.open(store_parent / "two", QUIET)
    try:
        with pytest.raises(ConfigError, match="does not exist"):
            await backup.restore(database, store_parent / "nothing.dump")
        with pytest.raises(StoreError, match="damaged"):
            await backup.restore(database, store_parent / "broken.dump")
        await backup.restore(database, store_parent / "kept.dump")
    finally:
        await database.close()
    again = await Archive.open(store_parent / "two", space_id=SPACE, options=QUIET)
    try:
        by_key = {i.id: i for i in await again.get([i.id for i in items])}
        assert by_key == {i.id: i for i in items}
        assert await again.upsert(make_entries(3, prefix="new")) == 3, "the serving role has its rights after a restore"
    finally:
        await again.close()


def embed_again(photographs: Sequence[bytes]) -> list[Float32 | None]:
    """Another model's vectors: they follow from the bytes; what begins with `bad` can't be embedded."""
    return [
        None if data.startswith(b"bad") else unit_vectors(1, seed=int.from_bytes(hashlib.sha256(data).digest()[:4], "big"))[0]
        for data in photographs
    ]


def photographs_in(folder: Path) -> list[Entry]:
    """Items with a photograph at hand, one whose photograph is gone, one changed since, one unusable, one of another kind."""
    items = []
    for n, vector_D in enumerate(unit_vectors(9)):
        data = b"bad" if n == 7 else f"photograph {n}".encode()
        (folder / f"{n}.jpg").write_bytes(data)
        items.append(
            entry(
                id=f"eye-{n}",
                kind="image",
                vector=vector_D,
                source=f"{n}.jpg",
                site="Porto",
                content_sha256=hashlib.sha256(data).digest(),
                precision="fp32",
            )
        )
    (folder / "5.jpg").unlink()
    (folder / "6.jpg").write_bytes(b"retouched")
    items[0] = replace(items[0], vectors={**items[0].vectors, "joint": unit_vectors(1, seed=3)[0]})
    return items


async def test_migration_re_embeds_what_it_can_keeps_the_rest_and_refuses_the_old_space(
    store_url: str, collection_name: str, tmp_path: Path
) -> None:
    old = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=QUIET)
    items = photographs_in(tmp_path)
    await old.upsert(items)
    source = await Archive.inspect(store_url, collection=collection_name)
    done = await migrate(source, space_id=NEW_SPACE, dim=256, precision="int8", embed=embed_again, images=tmp_path)
    await source.close()
    assert (done.embedded, done.left_behind) == (6, 4)

    new = await Archive.open(store_url, space_id=NEW_SPACE, collection=collection_name, options=QUIET)
    stored = await new.get([i.id for i in items])
    assert {i.id for i in stored} == {"eye-0", "eye-1", "eye-2", "eye-3", "eye-4", "eye-8"}
    assert {(i.site, i.precision) for i in stored} == {("Porto", "int8")}
    [wanted] = embed_again([b"photograph 4"])
    assert wanted is not None
    np.testing.assert_allclose(vector_of((await new.get(["eye-4"]))[0]), wanted, atol=1e-3)
    await new.close()

    before = await Archive.inspect(store_url, collection=done.old_collection)
    assert await before.count() == 10
    assert before.space_id == SPACE
    await before.close()
    # The server of the old bundle still runs: it must neither write to the old vectors nor search the new ones.
    for attempt in (old.upsert(items[:1]), old.search(vector_of(items[1]), kind="image"), old.delete(["eye-0"]), old.count()):
        with pytest.raises(SpaceMismatchError, match=f"{NEW_SPACE}.*{SPACE}"):
            await attempt
    await old.close()


async def test_an_interrupted_migration_goes_on_where_it_stopped(store_url: str, collection_name: str, tmp_path: Path) -> None:
    old = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=QUIET)
    items = photographs_in(tmp_path)[:5]
    await old.upsert(items)

    async def attempt(embed: object) -> object:
        source = await Archive.inspect(store_url, collection=collection_name)
        try:
            return await migrate(source, space_id=NEW_SPACE, dim=256, precision="", embed=embed, images=tmp_path)  # type: ignore[arg-type]
        finally:
            await source.close()

    def fails(photographs: Sequence[bytes]) -> list[Float32 | None]:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        await attempt(fails)
    assert await old.count(kind="image") == 5, "until the switch the old space is served"
    late = entry(id="late", kind="image", vector=vector_of(items[1]), source="0.jpg")

    def while_writing(photographs: Sequence[bytes]) -> list[Float32 | None]:
        import asyncio
        import threading

        def write() -> None:
            async def work() -> None:
                other = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=QUIET)
                await other.upsert([late])
                await other.delete(["eye-1"])
                await other.close()

            asyncio.run(work())

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return embed_again(photographs)

    await attempt(while_writing)
    new = await Archive.open(store_url, space_id=NEW_SPACE, collection=collection_name, options=QUIET)
    assert {i.id for i in await new.get([*(i.id for i in items), "late"])} == {"eye-0", "eye-2", "eye-3", "eye-4", "late"}
    await new.close()
    await old.close()


async def test_a_migration_without_any_photograph_changes_nothing(store_url: str, collection_name: str) -> None:
    old = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=QUIET)
    await old.upsert(make_entries(3))
    source = await Archive.inspect(store_url, collection=collection_name)
    with pytest.raises(CheckFailed, match="none of the 3 vectors"):
        await migrate(source, space_id=NEW_SPACE, dim=256, precision="", embed=embed_again)
    with pytest.raises(PreconditionError, match="nothing to migrate"):
        await migrate(source, space_id=SPACE, dim=256, precision="", embed=embed_again)
    await source.close()
    assert await old.count() == 3
    await old.close()


def test_the_commands_print_one_json_document(
    store_url: str, collection_name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import asyncio

    async def fill() -> None:
        archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=QUIET)
        await archive.upsert(make_entries(60))
        await archive.close()

    asyncio.run(fill())
    cli.stats(store_url, collection=collection_name, json=True)
    assert json.loads(capsys.readouterr().out)["counts"]["image"] == 60
    cli.check(store_url, collection=collection_name, sample=5, json=True)
    found = json.loads(capsys.readouterr().out)["recall"]["image"]
    assert (found["recall"], found["exact"], found["sampled"]) == (1.0, True, 5)
    cli.index(store_url, collection=collection_name)
    cli.init(store_url)
    assert capsys.readouterr().out == ""
    with pytest.raises(NotFoundError, match=f"there are: .*{collection_name}"):
        cli.stats(store_url, collection="nowhere")
