"""The database's own shape: forward migrations, and collections bound to one embedding space. Holds no items.

A migration is SQL that takes the schema from one version to the next; a version that was ever released is never edited.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal_runtime.errors import InputError, NotFoundError, PreconditionError, SpaceMismatchError, StoreError
from foveal_runtime.store.entry import KINDS
from foveal_runtime.store.tables import Tables

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SPACE = re.compile(r"[A-Za-z0-9:_.-]{1,128}")
_LOCK = 0x666F76656D6967  # "fovemig": one migration at a time per database
MAX_DIM = 4000
"""pgvector's HNSW takes halfvec of at most 4,000 components."""

MIGRATIONS: tuple[str, ...] = (
    # 1: collections, and a function that makes one, so that serving needs no right to create tables.
    """
    CREATE TABLE foveal.collections (
        name text COLLATE "C" PRIMARY KEY,
        generation integer GENERATED ALWAYS AS IDENTITY UNIQUE,
        space_id text NOT NULL,
        dim integer NOT NULL CHECK (dim BETWEEN 1 AND 4000),
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE FUNCTION foveal.create_collection(wanted_name text, wanted_space text, wanted_dim integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = foveal, {extension_schema}, pg_temp AS $body$
    DECLARE
        made integer;
        kind text;
    BEGIN
        INSERT INTO foveal.collections (name, space_id, dim) VALUES (wanted_name, wanted_space, wanted_dim)
            ON CONFLICT (name) DO NOTHING RETURNING generation INTO made;
        IF made IS NULL THEN
            RETURN;
        END IF;
        FOREACH kind IN ARRAY ARRAY['image', 'text', 'structured', 'joint'] LOOP
            EXECUTE format(
                'CREATE TABLE foveal.v%s_%s (
                    id text COLLATE "C" PRIMARY KEY,
                    content_sha256 bytea,
                    source text NOT NULL,
                    patient text COLLATE "C" NOT NULL,
                    eye text COLLATE "C" NOT NULL,
                    camera text COLLATE "C" NOT NULL,
                    site text COLLATE "C" NOT NULL,
                    acquired date,
                    icdr smallint,
                    referable boolean,
                    precision text NOT NULL,
                    attributes jsonb NOT NULL,
                    embedding halfvec(%s) NOT NULL)', made, kind, wanted_dim);
        END LOOP;
    END
    $body$;
    REVOKE ALL ON FUNCTION foveal.create_collection FROM PUBLIC;
    """,
    # 2: which key a collection's patient references were made with; empty for references stored as they came.
    """
    ALTER TABLE foveal.collections ADD COLUMN patient_key_id text NOT NULL DEFAULT '';
    CREATE FUNCTION foveal.create_collection(wanted_name text, wanted_space text, wanted_dim integer, wanted_key text)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = foveal, pg_temp AS $body$
    BEGIN
        PERFORM foveal.create_collection(wanted_name, wanted_space, wanted_dim);
        UPDATE foveal.collections SET patient_key_id = wanted_key
            WHERE name = wanted_name AND created_at = now() AND patient_key_id = '';
    END
    $body$;
    REVOKE ALL ON FUNCTION foveal.create_collection(text, text, integer, text) FROM PUBLIC;
    """,
    # 3: facts once an entry, in a table of their own, and the vectors of each kind beside them. Of rows of several kinds under
    # one id the image's facts stay the entry's (then the joint's, the text's, the record's); a vector whose facts or content is
    # others was stored at another visit and becomes an entry of its own: its id gets the kind and a checksum at its end.
    """
    CREATE OR REPLACE FUNCTION foveal.create_collection(wanted_name text, wanted_space text, wanted_dim integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = foveal, {extension_schema}, pg_temp AS $body$
    DECLARE
        made integer;
        kind text;
    BEGIN
        INSERT INTO foveal.collections (name, space_id, dim) VALUES (wanted_name, wanted_space, wanted_dim)
            ON CONFLICT (name) DO NOTHING RETURNING generation INTO made;
        IF made IS NULL THEN
            RETURN;
        END IF;
        PERFORM foveal.create_entries(made);
        FOREACH kind IN ARRAY ARRAY['image', 'text', 'structured', 'joint'] LOOP
            EXECUTE format(
                'CREATE TABLE foveal.v%s_%s (
                    id text COLLATE "C" PRIMARY KEY REFERENCES foveal.e%s ON DELETE CASCADE,
                    embedding halfvec(%s) NOT NULL)', made, kind, made, wanted_dim);
        END LOOP;
    END
    $body$;
    CREATE FUNCTION foveal.create_entries(number integer) RETURNS void
    LANGUAGE plpgsql SET search_path = foveal, pg_temp AS $body$
    BEGIN
        EXECUTE format(
            'CREATE TABLE foveal.e%s (
                id text COLLATE "C" PRIMARY KEY,
                content_sha256 bytea,
                source text NOT NULL,
                patient text COLLATE "C" NOT NULL,
                eye text COLLATE "C" NOT NULL,
                camera text COLLATE "C" NOT NULL,
                site text COLLATE "C" NOT NULL,
                acquired date,
                icdr smallint,
                referable boolean,
                precision text NOT NULL,
                attributes jsonb NOT NULL)', number);
    END
    $body$;
    REVOKE ALL ON FUNCTION foveal.create_entries FROM PUBLIC;
    DO $body$
    DECLARE
        number integer;
        kind text;
        facts text := 'content_sha256, source, patient, eye, camera, site, acquired, icdr, referable, precision, attributes';
        others text := '(v.content_sha256, v.source, v.patient, v.eye, v.camera, v.site, v.acquired, v.icdr, v.referable,'
            ' v.precision, v.attributes) IS DISTINCT FROM (e.content_sha256, e.source, e.patient, e.eye, e.camera, e.site,'
            ' e.acquired, e.icdr, e.referable, e.precision, e.attributes)';
    BEGIN
        FOR number IN SELECT generation FROM foveal.collections LOOP
            PERFORM foveal.create_entries(number);
            FOREACH kind IN ARRAY ARRAY['image', 'joint', 'text', 'structured'] LOOP
                EXECUTE format(
                    'UPDATE foveal.v%s_%s v SET id = left(v.id, 200) || ''.%s.'' || left(md5(v.id), 12)'
                    ' FROM foveal.e%s e WHERE e.id = v.id AND %s', number, kind, kind, number, others);
                EXECUTE format(
                    'INSERT INTO foveal.e%s (id, %s) SELECT id, %s FROM foveal.v%s_%s ON CONFLICT (id) DO NOTHING',
                    number, facts, facts, number, kind);
                EXECUTE format(
                    'ALTER TABLE foveal.v%s_%s DROP COLUMN content_sha256, DROP COLUMN source, DROP COLUMN patient,'
                    ' DROP COLUMN eye, DROP COLUMN camera, DROP COLUMN site, DROP COLUMN acquired, DROP COLUMN icdr,'
                    ' DROP COLUMN referable, DROP COLUMN precision, DROP COLUMN attributes,'
                    ' ADD FOREIGN KEY (id) REFERENCES foveal.e%s ON DELETE CASCADE', number, kind, number);
            END LOOP;
        END LOOP;
    END
    $body$;
    """,
)
SCHEMA_VERSION = len(MIGRATIONS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """A collection as it was when it was opened."""

    name: str
    generation: int
    space_id: str
    dim: int
    patient_key_id: str

    @property
    def tables(self) -> Tables:
        """Qualified names of its tables, made of an integer and closed words."""
        number = int(self.generation)
        return Tables(entries=f"foveal.e{number}", vectors={kind: f"foveal.v{number}_{kind}" for kind in KINDS})


async def migrate(connection: AsyncConnection, *, extension_schema: str, app_role: str | None) -> int:
    """Bring the schema to `SCHEMA_VERSION`, each version in a transaction of its own. Returns the version found.

    Args:
        connection: of the schema's owner, autocommit.
        extension_schema: where pgvector's types live.
        app_role: gets the rights that serving needs, and no more; None when the owner serves.

    Raises:
        StoreError: the schema is newer than this foveal.
    """
    await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        found = await schema_version(connection)
        check_version(found)
        await upgrade(connection, SCHEMA_VERSION, extension_schema=extension_schema)
        if app_role is not None:
            async with connection.transaction():
                await _grant(connection, app_role)
        return found
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


async def upgrade(connection: AsyncConnection, version: int, *, extension_schema: str) -> None:
    """Apply the migrations up to `version` that are lacking, each in a transaction (or savepoint) of its own."""
    from psycopg import sql

    async with connection.transaction():
        await connection.execute("CREATE SCHEMA IF NOT EXISTS foveal")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS foveal.schema_version"
            " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for number in range(await schema_version(connection) + 1, version + 1):
        text = MIGRATIONS[number - 1].replace("{extension_schema}", sql.Identifier(extension_schema).as_string(connection))
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute("INSERT INTO foveal.schema_version (version) VALUES (%s)", (number,))


async def _grant(connection: AsyncConnection, app_role: str) -> None:
    from psycopg import sql

    role = sql.Identifier(app_role)
    for text in (
        "GRANT USAGE ON SCHEMA foveal TO {}",
        "GRANT EXECUTE ON FUNCTION foveal.create_collection(text, text, integer, text) TO {}",
        # What is there, as after a restore; and the tables of collections yet to come.
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA foveal TO {}",
        "REVOKE INSERT, UPDATE, DELETE ON foveal.collections, foveal.schema_version FROM {}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA foveal GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}",
    ):
        await connection.execute(sql.SQL(text).format(role))


async def schema_version(connection: AsyncConnection) -> int:
    """The newest migration that was applied; 0 for an empty database."""
    cursor = await connection.execute("SELECT to_regclass('foveal.schema_version') IS NOT NULL")
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return 0
    cursor = await connection.execute("SELECT coalesce(max(version), 0) FROM foveal.schema_version")
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def check_version(found: int) -> None:
    """Refuse a schema from the future.

    Raises:
        StoreError: naming both versions.
    """
    if found > SCHEMA_VERSION:
        raise StoreError(
            f"the store's schema is version {found}, this foveal knows versions up to {SCHEMA_VERSION}; upgrade foveal"
        )


async def open_collection(
    connection: AsyncConnection, name: str, *, space_id: str, dim: int, create: bool, patient_key_id: str = ""
) -> Collection:
    """Look a collection up, and create it when it is new and `create` is set.

    Raises:
        SpaceMismatchError: it belongs to another space, or has another dimension.
        NotFoundError: it does not exist.
        InputError: the name, space or dimension is malformed.
        PreconditionError: its patient references were made with another key.
    """
    check_names(name, space_id, dim)
    found = await find_collection(connection, name)
    if found is None:
        if not create:
            raise NotFoundError(
                f"there is no collection {name!r} in this store; index something into it first, or check the name"
            )
        await connection.execute("SELECT foveal.create_collection(%s, %s, %s, %s)", (name, space_id, dim, patient_key_id))
        found = await find_collection(connection, name)
        assert found is not None
    check_space(found, space_id, dim)
    if found.patient_key_id != patient_key_id:
        raise PreconditionError(
            f"collection {name!r} keeps patient references {_keyed(found.patient_key_id)}, and this server was started"
            f" {_keyed(patient_key_id)}; give --hash-patients the key it was made with, or choose another collection"
        )
    return found


def check_names(name: str, space_id: str, dim: int) -> None:
    """Refuse a malformed collection.

    Raises:
        InputError: saying what is wrong.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            "collection names are 1 to 63 letters, digits, dots, dashes and underscores, and start with a letter or digit"
        )
    if not _SPACE.fullmatch(space_id):
        raise InputError("space_id is malformed; take it from the bundle's manifest")
    if not 1 <= dim <= MAX_DIM:
        raise InputError(f"vectors have {dim} components, 1 to {MAX_DIM} are possible")


def _keyed(key_id: str) -> str:
    return f"keyed with key {key_id}" if key_id else "without a key"


def check_space(found: Collection, space_id: str, dim: int) -> None:
    """Refuse to mix spaces.

    Raises:
        SpaceMismatchError: naming both.
    """
    if found.space_id != space_id:
        raise SpaceMismatchError(
            f"collection {found.name!r} holds vectors of space {found.space_id}, this bundle makes vectors of space {space_id};"
            " serve the bundle it was indexed with, choose another collection, or run `foveal store migrate --to BUNDLE`"
        )
    if found.dim != dim:
        raise SpaceMismatchError(f"collection {found.name!r} holds vectors of dimension {found.dim}, got {dim}")


async def find_collection(connection: AsyncConnection, name: str) -> Collection | None:
    """The collection of that name, if there is one."""
    return next((c for c in await all_collections(connection) if c.name == name), None)


async def all_collections(connection: AsyncConnection) -> list[Collection]:
    """Every collection of the database, by name."""
    cursor = await connection.execute(
        "SELECT name, generation, space_id, dim, patient_key_id FROM foveal.collections ORDER BY name"
    )
    return [
        Collection(name=row[0], generation=row[1], space_id=row[2], dim=row[3], patient_key_id=row[4])
        for row in await cursor.fetchall()
    ]
