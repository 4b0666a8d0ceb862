"""Dumps that were made to run something: restoring takes their rows or refuses them, and runs nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from servers import reachable_folder

from foveal_runtime.errors import ConfigError, FovealError, StoreError
from foveal_runtime.store import Archive, Entry, StoreOptions, backup, schema
from foveal_runtime.store.cluster import Binaries
from foveal_runtime.store.database import Database
from foveal_runtime.store.postgres import EmbeddedPostgres

SPACE = "a" * 64
QUIET = StoreOptions(maintain=False, retry_for_s=0.5)
ENTRIES = [Entry(id=f"eye-{n}", vectors={"image": np.eye(8, dtype=np.float32)[n]}, site="Porto \\. \\! C:\\") for n in range(8)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


@pytest.fixture(scope="module")
def plain(folder: Path) -> bytes:
    """A plain SQL dump, as older foveals wrote it, of a store with 8 entries."""
    return asyncio.run(_dumped(folder, "plain"))


@pytest.fixture(scope="module")
def custom(folder: Path) -> bytes:
    """The same in pg_dump's custom format, uncompressed."""
    return asyncio.run(_dumped(folder, "custom"))


async def _dumped(folder: Path, form: str) -> bytes:
    archive = await Archive.open(folder / "source", space_id=SPACE, dim=8, options=QUIET)
    try:
        await archive.upsert(ENTRIES)
        conninfo = archive.database.owner_conninfo
        command = [Binaries.find().path("pg_dump"), f"--format={form}", "--schema=foveal", "--no-owner", conninfo]
        if form == "custom":
            command.insert(1, "--compress=0")
        return await asyncio.to_thread(lambda: subprocess.run(command, check=True, capture_output=True).stdout)
    finally:
        await archive.close()


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[Path]:
    """A store folder whose PostgreSQL runs."""
    server = EmbeddedPostgres(folder / "target")
    server.start()
    yield folder / "target"
    server.stop()


@pytest.fixture
async def empty(target: Path) -> AsyncIterator[Database]:
    """An empty store."""
    database = await Database.open(target, QUIET, attach=True)

    async def clear(connection: psycopg.AsyncConnection) -> None:
        await connection.execute("DROP SCHEMA foveal CASCADE")

    await database.as_owner(clear)
    await database.bring_up_to_date()
    yield database
    await database.close()


async def objects(database: Database) -> set[str]:
    """Every table, function, trigger and schema that is not PostgreSQL's own or pgvector's."""

    async def work(connection: psycopg.AsyncConnection) -> set[str]:
        cursor = await connection.execute(
            """
            SELECT 'table ' || n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'v', 'm', 'f')
            UNION SELECT 'function ' || n.nspname || '.' || p.proname
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
            UNION SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
            UNION SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_'
            """
        )
        return {row[0] for row in await cursor.fetchall()}

    return await database.as_owner(work)


async def stored(database: Database) -> int:
    """Entries of the default collection."""

    async def work(connection: psycopg.AsyncConnection) -> int:
        cursor = await connection.execute("SELECT count(*) FROM foveal.e1")
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    return await database.as_owner(work)


def before_rows(text: bytes) -> Callable[[bytes], bytes]:
    """Put text before the first block of rows."""
    return lambda dump: dump.replace(b"\nCOPY foveal.", b"\n" + text + b"\nCOPY foveal.", 1)


EXTRA_TABLE = b"COPY foveal.implant (a) FROM stdin;\n1\n\\.\n"
REFUSED = {
    "shell": (before_rows(b"\\! touch CANARY"), "psql"),
    "shell behind a statement": (before_rows(b"SELECT 1 \\! touch CANARY"), "psql"),
    "shell after spaces": (before_rows(b"   \\! touch CANARY"), "psql"),
    "include": (before_rows(b"\\i /etc/passwd"), "psql"),
    "output to a program": (before_rows(b"\\o |touch CANARY"), "psql"),
    "another connection": (before_rows(b"\\connect postgres"), "psql"),
    "copy by psql": (before_rows(b"\\copy foveal.collections to program 'touch CANARY'"), "psql"),
    "shell after a false restrict": (before_rows(b"\\restrict a; \\! touch CANARY"), "psql"),
    "rows to a program": (before_rows(b"COPY (SELECT 1) TO PROGRAM 'touch CANARY';"), "something else"),
    "rows from a program": (before_rows(b"copy foveal.collections from program 'touch CANARY';"), "something else"),
    "program behind a statement": (before_rows(b"SELECT 1; COPY (SELECT 1) TO PROGRAM 'touch CANARY';"), "program"),
    "rows of another schema": (before_rows(b"COPY public.implant (a) FROM stdin;\n1\n\\."), "something else"),
    "a table that no collection has": (before_rows(EXTRA_TABLE), "implant"),
    "a column that is a statement": (
        lambda dump: dump.replace(b"(version, applied_at)", b"(version) FROM stdin; DROP TABLE x; --)"), "something else",
    ),
    "a column that is not there": (lambda dump: dump.replace(b"(version, applied_at)", b"(version, implant)"), "columns"),
    "a column twice": (lambda dump: dump.replace(b"(version, applied_at)", b"(version, version)"), "columns"),
    "a table twice": (lambda dump: dump + b"COPY foveal.schema_version (version, applied_at) FROM stdin;\n\\.\n", "twice"),
    "no end": (lambda dump: dump[: len(dump) // 2], "ends early"),
    "no last line": (lambda dump: dump.replace(b"-- PostgreSQL database dump complete", b"--"), "ends early"),
    "nothing": (lambda dump: b"", "ends early"),
    "a newer foveal": (lambda dump: dump.replace(b"\n3\t20", b"\n3\t2020-01-01\n99\t20", 1), "upgrade foveal"),
    "a collection named as a statement": (lambda dump: dump.replace(b"\ndefault\t1", b"\nx'); DROP\t1", 1), "names are"),
    "a collection of a huge number": (lambda dump: dump.replace(b"\ndefault\t1", b"\ndefault\t" + b"9" * 400, 1), "number"),
    "a vector too long": (lambda dump: dump.replace(b"\t[1,0,", b"\t[1,0,0,", 1), "refused"),
    "a vector of no numbers": (lambda dump: dump.replace(b"\t[1,0,", b"\t[NaN,0,", 1), "refused"),
    "rows that lack a field": (lambda dump: dump.replace(b"\neye-0\t[1", b"\neye-0[1", 1), "refused"),
    "bytes that are no text": (lambda dump: dump.replace(b"eye-3", b"\xff\xfe", 2), "refused"),
    "another encoding": (lambda dump: dump.replace(b"'UTF8'", b"'SQL_ASCII'"), "UTF-8"),
    "a tar file": (lambda dump: b"toc.dat".ljust(512, b"\0") + b"\0" * 4096, "ends early"),
    "a custom file without content": (lambda dump: b"PGDMP", "damaged"),
    "a custom file of noise": (lambda dump: b"PGDMP\x01\x10\x00\x04\x08\x01" + b"\xff" * 5000, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_a_hostile_dump_is_refused_runs_nothing_and_leaves_the_store_as_it_was(
    name: str, plain: bytes, empty: Database, tmp_path: Path
) -> None:
    change, words = REFUSED[name]
    canary = tmp_path / "canary"
    hostile = change(plain).replace(b"CANARY", os.fsencode(canary))
    assert hostile != plain
    (tmp_path / "hostile.sql").write_bytes(hostile)
    before = await objects(empty)
    with pytest.raises(FovealError, match=words) as caught:
        await backup.restore(empty, tmp_path / "hostile.sql")
    assert str(caught.value).isprintable(), "one line, fit for a terminal"
    assert not canary.exists()
    assert await objects(empty) == before


def test_psql_would_have_run_it(plain: bytes, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    change, _ = REFUSED["shell"]
    (tmp_path / "hostile.sql").write_bytes(change(plain).replace(b"CANARY", os.fsencode(canary)))

    async def restore_as_before() -> None:
        database = await Database.open(folder / "twin", QUIET)
        try:
            command = [
                Binaries.find().path("psql"), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1",
                "--output=/dev/null", "--command=DROP SCHEMA IF EXISTS foveal CASCADE", f"--file={tmp_path / 'hostile.sql'}",
                database.owner_conninfo,
            ]  # fmt: skip
            # Newer pg_dumps restrict their own files: what hostile hands wrote does not.
            text = (tmp_path / "hostile.sql").read_bytes()
            (tmp_path / "hostile.sql").write_bytes(b"\n".join(x for x in text.split(b"\n") if b"restrict " not in x[:12]))
            await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        finally:
            await database.close()

    asyncio.run(restore_as_before())
    assert canary.exists()


STATEMENTS = b"""
CREATE TABLE foveal.implant (a text);
CREATE TABLE public.implant (a text);
CREATE FUNCTION public.implant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER implant BEFORE INSERT ON foveal.e1 FOR EACH ROW EXECUTE FUNCTION public.implant();
ALTER ROLE foveal_app SUPERUSER;
DO $$ BEGIN RAISE EXCEPTION 'ran'; END $$;
"""


async def test_statements_beside_the_rows_are_not_run(plain: bytes, custom: bytes, empty: Database, tmp_path: Path) -> None:
    (tmp_path / "hostile.sql").write_bytes(before_rows(STATEMENTS)(plain))
    await backup.restore(empty, tmp_path / "hostile.sql")
    assert not [each for each in await objects(empty) if "implant" in each]
    assert await stored(empty) == 8


async def test_a_dump_in_custom_format_whose_copy_was_exchanged_runs_nothing(
    custom: bytes, empty: Database, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    [statement] = [line for line in custom.split(b"COPY ") if line.startswith(b"foveal.e1 (")]
    old = b"COPY " + statement[: statement.index(b";") + 1]
    new = b"COPY foveal.e1 FROM PROGRAM 'touch " + os.fsencode(canary) + b"';"
    assert len(new) <= len(old), "room in the table of contents"
    (tmp_path / "hostile.dump").write_bytes(custom.replace(old, new.ljust(len(old))))
    with pytest.raises(StoreError, match="something else than a table"):
        await backup.restore(empty, tmp_path / "hostile.dump")
    (tmp_path / "shell.dump").write_bytes(custom.replace(old, (b"\n\\! touch " + os.fsencode(canary) + b"\n").ljust(len(old))))
    with pytest.raises(StoreError, match="psql"):
        await backup.restore(empty, tmp_path / "shell.dump")
    assert not canary.exists()
    (tmp_path / "whole.dump").write_bytes(custom)
    await backup.restore(empty, tmp_path / "whole.dump")
    assert await stored(empty) == 8


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
async def test_a_dump_in_custom_format_that_is_cut_anywhere_is_refused(
    share: float, custom: bytes, empty: Database, tmp_path: Path
) -> None:
    (tmp_path / "cut.dump").write_bytes(custom[: int(len(custom) * share)])
    before = await objects(empty)
    with pytest.raises(StoreError, match=r"damaged|ends early"):
        await backup.restore(empty, tmp_path / "cut.dump")
    assert await objects(empty) == before


async def test_what_older_foveals_dumped_as_sql_is_restored_and_migrated(empty: Database, folder: Path, tmp_path: Path) -> None:
    old = await Database.open(folder / "old", QUIET)
    try:

        async def work(connection: psycopg.AsyncConnection) -> None:
            await connection.execute("DROP SCHEMA foveal CASCADE")
            await schema.upgrade(connection, 2, extension_schema=old.extension_schema)
            for name in ("gone", "default"):
                await connection.execute("SELECT foveal.create_collection(%s, %s, 2)", (name, SPACE))
            await connection.execute("DELETE FROM foveal.collections WHERE name = 'gone'")
            for kind in ("image", "text", "structured", "joint"):
                await connection.execute(f"DROP TABLE foveal.v1_{kind}")
            await connection.execute(
                "INSERT INTO foveal.v2_image"
                " VALUES ('eye', NULL, '', 'p', 'left', '', '', NULL, 2, true, 'fp32', '{}', '[1,0]')"
            )

        await old.as_owner(work)
        command = [
            Binaries.find().path("pg_dump"), "--format=plain", "--schema=foveal", "--no-owner", "--no-privileges",
            f"--file={tmp_path / 'old.sql'}", old.owner_conninfo,
        ]  # fmt: skip
        await asyncio.to_thread(subprocess.run, command, check=True)
    finally:
        await old.close()
    await backup.restore(empty, tmp_path / "old.sql")
    [found] = await empty.as_owner(schema.all_collections)
    assert (found.name, found.generation, found.dim) == ("default", 2, 2)

    async def look(connection: psycopg.AsyncConnection) -> tuple[object, ...] | None:
        assert await schema.schema_version(connection) == schema.SCHEMA_VERSION
        await connection.execute("SELECT foveal.create_collection('next', %s, 2)", (SPACE,))
        cursor = await connection.execute(
            "SELECT e.id, e.icdr, v.embedding::text FROM foveal.e2 e JOIN foveal.v2_image v USING (id)"
        )
        return await cursor.fetchone()

    assert await empty.as_owner(look) == ("eye", 2, "[1,0]")


async def test_what_is_no_file_is_refused_at_once(empty: Database, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        with pytest.raises(ConfigError, match="dump"):
            await asyncio.wait_for(backup.restore(empty, odd), 5)
