"""Migrations from every earlier version, schemas from the future, collections that differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from foveal_runtime.errors import InputError, PreconditionError, SpaceMismatchError, StoreError
from foveal_runtime.store import Archive, StoreOptions, schema

from .conftest import SPACE, entry, make_entries, unit_vectors

QUICK = StoreOptions(maintain=False, retry_for_s=0.5)


@pytest.fixture
async def fresh_url(superuser: Callable[..., str], store_url: str, collection_name: str) -> AsyncIterator[str]:
    """A database of its own with pgvector and no schema."""
    name = collection_name.replace("-", "_")
    there = urlsplit(store_url)
    with psycopg.connect(superuser(), autocommit=True) as connection:
        owner = sql.Identifier(str(there.username))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), owner))
    with psycopg.connect(superuser(name), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield f"postgresql://{there.netloc}/{name}?{there.query}"
    with psycopg.connect(superuser(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def as_of(url: str, version: int) -> None:
    """Make the schema of an earlier version, with a collection and an item as that version would have left them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA foveal")
        connection.execute(
            "CREATE TABLE foveal.schema_version (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for number in range(1, version + 1):
            connection.execute(schema.MIGRATIONS[number - 1].replace("{extension_schema}", "public"))  # type: ignore[arg-type]
            connection.execute("INSERT INTO foveal.schema_version (version) VALUES (%s)", (number,))
        if version:
            connection.execute("SELECT foveal.create_collection('default', %s, 256)", (SPACE,))
            facts = "INSERT INTO foveal.{} (id, source, patient, eye, camera, site, precision, attributes{}) VALUES"
            values = "('old', '', 'p', 'left', '', 'Porto', '', '{}'"
            vector = (str(unit_vectors(1)[0].tolist()),)
            if version < 3:
                connection.execute(facts.format("v1_image", ", embedding") + values + ", %s::halfvec)", vector)  # type: ignore[arg-type]
            else:
                connection.execute(facts.format("e1", "") + values + ")")  # type: ignore[arg-type]
                connection.execute("INSERT INTO foveal.v1_image VALUES ('old', %s::halfvec)", vector)


@pytest.mark.parametrize("version", range(schema.SCHEMA_VERSION + 1))
async def test_every_earlier_schema_is_brought_up_to_date_with_its_items(fresh_url: str, version: int) -> None:
    as_of(fresh_url, version)
    archive = await Archive.open(fresh_url, space_id=SPACE, options=QUICK)
    try:
        await archive.upsert(make_entries(3))
        assert await archive.count() == (3 if version == 0 else 4)
        if version:
            [old] = await archive.get(["old"])
            assert (old.site, old.eye, old.patient) == ("Porto", "left", "p")
            assert (await archive.search(unit_vectors(1)[0], kind="image", k=1)).hits[0].score > 0.999
        assert (await archive.stats()).schema_version == schema.SCHEMA_VERSION
    finally:
        await archive.close()


async def test_rows_of_two_visits_under_one_id_become_two_entries_and_no_vector_is_lost(fresh_url: str) -> None:
    as_of(fresh_url, 2)
    first, second, third = (str(vector_D.tolist()) for vector_D in unit_vectors(3, seed=5))
    with psycopg.connect(fresh_url, autocommit=True) as connection:
        for kind, site, vector in (("image", "Porto", first), ("joint", "Porto", second), ("text", "Braga", third)):
            connection.execute(
                f"INSERT INTO foveal.v1_{kind} (id, source, patient, eye, camera, site, precision, attributes, embedding)"  # type: ignore[arg-type]
                " VALUES ('x', '', 'p', '', '', %s, 'int8', '{}', %s::halfvec)",
                (site, vector),
            )
    archive = await Archive.open(fresh_url, space_id=SPACE, options=QUICK)
    try:
        kept = {each.id: each for each in await archive.page(count=10)}
        assert len(kept) == 3
        assert (kept["x"].site, sorted(kept["x"].vectors)) == ("Porto", ["image", "joint"])
        (other,) = (each for name, each in kept.items() if name.startswith("x.text."))
        assert (other.site, list(other.vectors)) == ("Braga", ["text"])
        nearest = await archive.search(unit_vectors(3, seed=5)[2], kind="text", k=1)
        assert (nearest.hits[0].id, nearest.hits[0].score > 0.999) == (other.id, True)
        assert await archive.count() == 4
    finally:
        await archive.close()


async def test_a_schema_from_the_future_is_refused_untouched(fresh_url: str) -> None:
    as_of(fresh_url, schema.SCHEMA_VERSION)
    with psycopg.connect(fresh_url, autocommit=True) as connection:
        connection.execute("INSERT INTO foveal.schema_version (version) VALUES (99)")
    with pytest.raises(
        StoreError, match=f"version 99, this foveal knows versions up to {schema.SCHEMA_VERSION}; upgrade foveal"
    ):
        await Archive.open(fresh_url, space_id=SPACE, options=QUICK)
    with psycopg.connect(fresh_url) as connection:
        assert connection.execute("SELECT count(*) FROM foveal.v1_image").fetchone() == (1,)


async def test_a_migration_that_fails_leaves_the_version_before_it(fresh_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_of(fresh_url, schema.SCHEMA_VERSION)
    broken = (*schema.MIGRATIONS, "ALTER TABLE foveal.collections ADD COLUMN half integer; SELECT 1 / 0;")
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(broken))
    with pytest.raises(StoreError, match="DivisionByZero 22012"):
        await Archive.open(fresh_url, space_id=SPACE, options=QUICK)
    with psycopg.connect(fresh_url) as connection:
        found = connection.execute("SELECT max(version) FROM foveal.schema_version").fetchone()
        assert found == (len(broken) - 1,)
        columns = connection.execute("SELECT 1 FROM information_schema.columns WHERE column_name = 'half'").fetchall()
        assert columns == []


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "../etc", "x;y", "-x"])
async def test_a_malformed_collection_name_is_refused(store_url: str, name: str) -> None:
    with pytest.raises(InputError, match="collection names are"):
        await Archive.open(store_url, space_id=SPACE, collection=name, options=QUICK)


@pytest.mark.parametrize("space", ["", "x" * 129, "a'b"])
async def test_a_malformed_space_is_refused(store_url: str, collection_name: str, space: str) -> None:
    with pytest.raises(InputError, match="space_id is malformed"):
        await Archive.open(store_url, space_id=space, collection=collection_name, options=QUICK)


async def test_another_dimension_is_refused(store_url: str, archive: Archive, collection_name: str) -> None:
    with pytest.raises(SpaceMismatchError, match="dimension 256, got 128"):
        await Archive.open(store_url, space_id=SPACE, dim=128, collection=collection_name, options=QUICK)


async def test_keyed_patients_are_stored_and_filtered_by_their_key_alone(store_url: str, collection_name: str) -> None:
    from foveal_runtime.store import Column, Equals, In

    options = StoreOptions(maintain=False, patient_key=b"k" * 32)
    archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=options)
    try:
        vectors = unit_vectors(2)
        await archive.upsert(
            [
                entry(id="a", kind="image", vector=vectors[0], patient="4711"),
                entry(id="b", kind="image", vector=vectors[1], patient="0815"),
            ]
        )
        [stored] = await archive.get(["a"])
        assert stored.patient.startswith("hmac-sha256:")
        assert "4711" not in stored.patient
        for node in (Equals(Column.PATIENT, "4711"), In(Column.PATIENT, ("4711",)), Equals(Column.PATIENT, stored.patient)):
            assert [h.id for h in (await archive.search(vectors[1], kind="image", filter=node)).hits] == ["a"]
        # A reference that came back may be stored again.
        assert await archive.upsert([stored]) == 0
    finally:
        await archive.close()
    for other in (None, b"another key of 32 bytes, or more"):
        with pytest.raises(PreconditionError, match="--hash-patients the key it was made with"):
            await Archive.open(
                store_url, space_id=SPACE, collection=collection_name, options=StoreOptions(maintain=False, patient_key=other)
            )
