"""Dump a store with PostgreSQL's `pg_dump`, and restore its rows from such a file. What a row means is others'.

A dump is in pg_dump's custom format; older foveals wrote plain SQL. Of either, restoring takes the rows alone (`dumpfile`): no
statement of the file is run, and `pg_restore` turns it into text without a database to run one in.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from foveal_runtime.errors import ConfigError, PreconditionError, StoreError
from foveal_runtime.store import schema
from foveal_runtime.store.dumpfile import Block, DumpReader
from foveal_runtime.store.entry import KINDS
from foveal_runtime.store.programs import run_program, unpacked

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database

_MAGIC = b"PGDMP"
"""First bytes of the custom format."""
_CHUNK_BYTES = 1 << 18
_ENTRIES_SINCE = 3
"""The version of the schema that keeps facts in a table of their own."""
_MOST_ROWS_BYTES = 4 << 20
"""Of the two tables that say what a dump holds: 20,000 collections."""


async def dump(database: Database, target: Path) -> int:
    """Write every collection to a file in pg_dump's custom format, as of one moment, while serving goes on. Returns its bytes.

    Raises:
        ConfigError: the file exists, or its folder does not.
        StoreError: pg_dump failed.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name a new file")
    if not target.parent.is_dir():
        raise ConfigError(f"folder {target.parent} does not exist; make it first")
    partial = target.with_name(target.name + ".partial")
    # Patient references and sources are in it: for its owner alone.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        await run_program(
            database.owner_conninfo,
            [
                "pg_dump", "--format=custom", "--compress=1", "--encoding=UTF8", "--schema=foveal", "--no-owner",
                "--no-privileges", f"--file={partial}",
            ],
            at=database.place,
        )  # fmt: skip
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


async def restore(database: Database, source: Path) -> None:
    """Fill an empty store from a dump, all or nothing, then bring its schema up to date.

    Args:
        database: whose schema foveal is made anew, as it was when the dump was written.
        source: what `dump` wrote, or an older foveal's plain SQL.

    Raises:
        ConfigError: the file can't be read.
        PreconditionError: the store is not empty.
        StoreError: the dump is damaged, of a newer foveal, or holds what foveal would not have written.
    """

    async def check_empty(connection: AsyncConnection) -> None:
        found = await schema.all_collections(connection)
        if found:
            raise PreconditionError(
                f"the store at {database.place} already has {len(found)} collections; restore into a new folder or database"
            )

    with _opened(source) as file:
        await database.as_owner(check_empty)
        contents = await _contents(file)

        async def work(connection: AsyncConnection) -> None:
            async with connection.transaction():
                await check_empty(connection)
                await _make_tables(connection, contents, database.extension_schema)
                await _load_rows(connection, contents, file)

        await database.as_owner(work)
    await database.bring_up_to_date()


@contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """The file, opened once: what is checked is what is loaded."""
    try:
        # A pipe would wait here for its other end.
        file = os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    except FileNotFoundError:
        raise ConfigError(f"dump {source} does not exist; name a file that `foveal store dump` wrote") from None
    except OSError as error:
        raise ConfigError(f"dump {source} can't be read ({error.strerror}); check its path and permissions") from None
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError(f"dump {source} is no file; name one that `foveal store dump` wrote")
        yield file


@dataclass(frozen=True, kw_only=True, slots=True)
class _Contents:
    """What a dump holds."""

    version: int
    """Of its schema."""
    collections: tuple[schema.Collection, ...]
    blocks: tuple[Block, ...]


async def _contents(file: IO[bytes]) -> _Contents:
    """Read a dump once through, and check that it is a whole one.

    Raises:
        StoreError: it is not.
    """
    blocks: list[Block] = []
    kept = {"schema_version": bytearray(), "collections": bytearray()}
    async with aclosing(_parts(file)) as parts:
        async for part in parts:
            if isinstance(part, Block):
                blocks.append(part)
            elif (rows := kept.get(blocks[-1].table)) is not None:
                rows += part
                if len(rows) > _MOST_ROWS_BYTES:
                    raise _strange("has too many collections")
    columns = {block.table: block.columns for block in blocks}
    if len(columns) != len(blocks) or not columns.keys() >= kept.keys():
        raise _strange("has a table twice, or says nothing of its collections")
    version = max(
        (int(v) for v in _fields(kept["schema_version"], columns["schema_version"], "version") if v.isdigit()), default=0
    )
    if version < 1:
        raise _strange("has no version")
    schema.check_version(version)
    collections = _collections(kept["collections"], columns["collections"])
    expected = {*kept, *(table for each in collections for table in _tables(each, version))}
    if columns.keys() != expected:
        odd = sorted(columns.keys() ^ expected)
        raise _strange(f"lacks tables of its collections, or has others ({', '.join(odd[:3])})")
    return _Contents(version=version, collections=collections, blocks=tuple(blocks))


def _tables(collection: schema.Collection, version: int) -> list[str]:
    """A collection's tables in that version of the schema, without their schema."""
    number = collection.generation
    return [*([f"e{number}"] if version >= _ENTRIES_SINCE else []), *(f"v{number}_{kind}" for kind in KINDS)]


def _fields(rows: bytearray, columns: tuple[str, ...], name: str) -> list[str]:
    """One column of a block's rows."""
    if name not in columns:
        raise _strange(f"has no column {name}")
    at = columns.index(name)
    split = [line.split("\t") for line in rows.decode("utf-8", errors="replace").splitlines()]
    if any(len(fields) != len(columns) for fields in split):
        raise _strange("has rows that are not whole")
    return [fields[at] for fields in split]


def _collections(rows: bytearray, columns: tuple[str, ...]) -> tuple[schema.Collection, ...]:
    """The collections, by number."""
    names, numbers, spaces, dims = (_fields(rows, columns, name) for name in ("name", "generation", "space_id", "dim"))
    found = []
    for name, number, space, dim in zip(names, numbers, spaces, dims, strict=True):
        if not (number.isdecimal() and len(number) < 10 and dim.isdecimal() and len(dim) < 5):
            raise _strange("has a collection without a number")
        schema.check_names(name, space, int(dim))
        found.append(schema.Collection(name=name, generation=int(number), space_id=space, dim=int(dim), patient_key_id=""))
    return tuple(sorted(found, key=lambda each: each.generation))


async def _make_tables(connection: AsyncConnection, contents: _Contents, extension_schema: str) -> None:
    """The schema of the dump's version with its collections, still without rows."""
    from psycopg import sql

    await connection.execute("DROP SCHEMA IF EXISTS foveal CASCADE")
    await schema.upgrade(connection, contents.version, extension_schema=extension_schema)
    restart = sql.SQL("ALTER TABLE foveal.collections ALTER COLUMN generation RESTART WITH {}")
    for each in contents.collections:
        await connection.execute(restart.format(sql.Literal(each.generation)))
        await connection.execute("SELECT foveal.create_collection(%s, %s, %s)", (each.name, each.space_id, each.dim))
    next_number = max((each.generation for each in contents.collections), default=0) + 1
    await connection.execute(restart.format(sql.Literal(next_number)))
    # Their rows are the dump's.
    await connection.execute("DELETE FROM foveal.collections")
    await connection.execute("DELETE FROM foveal.schema_version")


async def _load_rows(connection: AsyncConnection, contents: _Contents, file: IO[bytes]) -> None:
    """Copy every block into its table.

    Raises:
        StoreError: a block's columns are not its table's, or the file is another now.
        psycopg.Error: a row does not fit.
    """
    cursor = await connection.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = 'foveal' GROUP BY table_name"
    )
    known = {table: sorted(columns) for table, columns in await cursor.fetchall()}
    waiting = list(contents.blocks)
    async with aclosing(_parts(file)) as parts:
        part = await anext(parts, None)
        while part is not None:
            if not waiting or part != (block := waiting.pop(0)):
                raise StoreError("the dump was changed while it was read; restore it again")
            if sorted(block.columns) != known.get(block.table):
                raise _strange(f"has other columns of {block.table}")
            part = await _copy(connection, block, parts)


async def _copy(connection: AsyncConnection, block: Block, parts: AsyncIterator[Block | bytes]) -> Block | bytes | None:
    """Copy the rows of one block; what comes after them."""
    from psycopg import sql

    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier("foveal", block.table), sql.SQL(", ").join(map(sql.Identifier, block.columns))
    )
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        async for part in parts:
            if isinstance(part, Block):
                return part
            await copy.write(part)
    return None


def _strange(why: str) -> StoreError:
    return StoreError(f"the dump {why}: `foveal store dump` did not write it, or it is damaged; take another one")


async def _parts(file: IO[bytes]) -> AsyncGenerator[Block | bytes, None]:
    """Blocks and their rows, from the file's beginning.

    Raises:
        StoreError: the dump is damaged, or holds what foveal would not have written.
    """
    reader = DumpReader()
    file.seek(0)
    is_custom = file.read(len(_MAGIC)) == _MAGIC
    file.seek(0)
    async with aclosing(unpacked(file) if is_custom else _read(file)) as texts:
        async for text in texts:
            for part in reader.feed(text):
                yield part
    reader.finish()


async def _read(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while text := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield text
