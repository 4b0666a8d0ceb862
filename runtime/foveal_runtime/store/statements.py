"""The statements of a collection, run on one connection: write, change, delete, read, count. Opens and retries nothing.

Whoever changes an entry locks its row in the table of entries first, in the order of the ids: two writers of one entry come one
after the other, and none leaves facts of one visit beside vectors of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foveal_runtime.store import rows
from foveal_runtime.store.entry import CHANGEABLE, FACTS, KINDS, Entry, Float32, Removed, check_facts
from foveal_runtime.store.filter import Compiled
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.tables import Tables
from foveal_runtime.store.vectors import HalfVector

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_COPY_FROM = 256
"""From this many rows of one table, COPY through a staging table is faster than pipelined inserts."""


async def write(
    connection: AsyncConnection,
    tables: Tables,
    facts: Mapping[str, tuple[object, ...]],
    vectors: Mapping[str, Mapping[str, Float32]],
    halfvec_oid: int,
) -> int:
    """Insert entries or replace them whole; how many were new or changed.

    Args:
        connection: of the database.
        tables: of the collection.
        facts: rows of `FACTS` by id.
        vectors: by kind and id.
        halfvec_oid: the type's number in this database.
    """
    dim = next((len(vector_D) for of_kind in vectors.values() for vector_D in of_kind.values()), 0)
    changed: set[str] = set()
    async with connection.transaction():
        ordered = [facts[entry_id] for entry_id in sorted(facts)]
        changed |= await _merge(connection, tables.entries, None, FACTS, ordered, (*rows.FACT_TYPES,), dim)
        for kind in KINDS:
            of_kind = vectors.get(kind, {})
            absent = [entry_id for entry_id in sorted(facts) if entry_id not in of_kind]
            if absent:
                changed |= await _ids(connection, rows.delete_sql(tables.vectors[kind]), absent)
            if of_kind:
                batch = [(entry_id, HalfVector.of(of_kind[entry_id])) for entry_id in sorted(of_kind)]
                types = ("text", halfvec_oid)
                changed |= await _merge(connection, tables.vectors[kind], kind, rows.VECTOR, batch, types, dim)
    return len(changed)


async def _merge(
    connection: AsyncConnection,
    table: str,
    kind: str | None,
    columns: Sequence[str],
    batch: Sequence[tuple[object, ...]],
    types: Sequence[str | int],
    dim: int,
) -> set[str]:
    """Insert or change rows; ids of those that were new or changed."""
    async with connection.cursor() as cursor:
        changed: set[str] = set()
        if len(batch) < _COPY_FROM:
            await cursor.executemany(rows.upsert_sql(table, columns), batch, returning=True)
            while True:
                changed.update(row[0] for row in await cursor.fetchall())
                if not cursor.nextset():
                    return changed
        staging = await rows.create_staging(connection, kind, dim)
        async with cursor.copy(rows.copy_sql(staging, columns)) as copy:
            copy.set_types(types)
            for row in batch:
                await copy.write_row(row)
        await cursor.execute(rows.merge_sql(table, staging, columns))
        return {row[0] for row in await cursor.fetchall()}


async def _ids(connection: AsyncConnection, statement: str, ids: list[str]) -> set[str]:
    cursor = await connection.execute(statement, (ids,))
    return {row[0] for row in await cursor.fetchall()}


async def update(
    connection: AsyncConnection, tables: Tables, entry_id: str, changes: Mapping[str, Any], patients: PatientRefs | None
) -> Entry | None:
    """Change some facts of an entry; the entry as it is then, without its vectors. None when there is none.

    Raises:
        InputError: a fact is illegal; nothing was changed.
    """
    async with connection.transaction():
        if not await _ids(connection, rows.lock_sql(tables), [entry_id]):
            return None
        (found,) = await entries(connection, tables, KINDS, [entry_id], with_vectors=False)
        changed = replace(found, **changes)
        check_facts(changed)
        names = [name for name in CHANGEABLE if name in changes]
        if patients is not None:
            changed = hidden(changed, patients)
            # Another patient may be named by what has not changed.
            names = list(dict.fromkeys([*names, *(("source", "attributes") if "patient" in changes else ())]))
        values = dict(zip(FACTS, rows.to_row(changed), strict=True))
        await connection.execute(rows.update_sql(tables, names), (*(values[name] for name in names), entry_id))
        return changed


def hidden(entry: Entry, patients: PatientRefs) -> Entry:
    """An entry as it is stored: its patient's reference keyed, wherever it stands."""
    return replace(
        entry,
        patient=patients.ref(entry.patient),
        source=patients.hide(entry.source, entry.patient),
        attributes={name: patients.hide(value, entry.patient) for name, value in entry.attributes.items()},
    )


async def delete(connection: AsyncConnection, tables: Tables, kinds: Sequence[str], ids: list[str]) -> Removed:
    """Remove the vectors of some ids and kinds, and the entries that have none left; all or none."""
    async with connection.transaction():
        await connection.execute(rows.lock_sql(tables), (ids,))
        return await _delete_locked(connection, tables, kinds, ids)


async def delete_some(
    connection: AsyncConnection, tables: Tables, condition: Compiled, after: str, count: int
) -> tuple[Removed, str | None]:
    """Remove the next entries that pass, all or none of them; what was removed, and the id to go on after, None at the end."""
    async with connection.transaction():
        cursor = await connection.execute(rows.lock_some_sql(tables, condition), (*condition.params, after, count))
        ids = [row[0] for row in await cursor.fetchall()]
        removed = await _delete_locked(connection, tables, KINDS, ids)
    return removed, ids[-1] if len(ids) == count else None


async def _delete_locked(connection: AsyncConnection, tables: Tables, kinds: Sequence[str], ids: list[str]) -> Removed:
    vectors = 0
    for kind in kinds:
        vectors += (await connection.execute(rows.delete_sql(tables.vectors[kind]), (ids,))).rowcount
    emptied = await connection.execute(rows.delete_bare_sql(tables), (ids,))
    return Removed(entries=emptied.rowcount, vectors=vectors)


async def entries(
    connection: AsyncConnection, tables: Tables, kinds: Sequence[str], ids: list[str], *, with_vectors: bool
) -> list[Entry]:
    """The stored entries of some ids that have a vector of one of the kinds, in no order."""
    statement = rows.entries_sql(tables, kinds, with_vectors=with_vectors, where="id = ANY(%s::text[])")
    cursor = await connection.execute(statement, (ids,), binary=True)
    return [rows.to_entry(row, kinds) for row in await cursor.fetchall()]


async def page(
    connection: AsyncConnection, tables: Tables, condition: Compiled, after: str, count: int, *, with_vectors: bool
) -> list[Entry]:
    """The next entries that pass, after an id, in the order of the ids."""
    statement = rows.entries_sql(
        tables, KINDS, with_vectors=with_vectors, where=f"{condition.sql} AND id > %s", rest="ORDER BY id LIMIT %s"
    )
    cursor = await connection.execute(statement, (*condition.params, after, count), binary=True)
    return [rows.to_entry(row, KINDS) for row in await cursor.fetchall()]


async def known(connection: AsyncConnection, table: str, ids: list[str]) -> set[str]:
    """Those of the ids that are stored."""
    return await _ids(connection, rows.known_sql(table), ids)


async def sample(connection: AsyncConnection, table: str, n: int, seed: int) -> list[tuple[str, Float32]]:
    """A random sample of at most `n` vectors with their ids."""
    cursor = await connection.execute(rows.sample_sql(table), (seed, n), binary=True)
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def count(connection: AsyncConnection, tables: Tables, kinds: Sequence[str | None], condition: Compiled) -> int:
    """Vectors of some kinds whose entries pass, together; the kind None counts entries."""
    total = 0
    for kind in kinds:
        cursor = await connection.execute(rows.count_sql(tables, kind, condition), condition.params)
        row = await cursor.fetchone()
        total += int(row[0]) if row else 0
    return total
