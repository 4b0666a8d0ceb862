"""The SQL of a collection's tables and the conversion of entries to rows and back. Executes nothing.

Facts stand once, in the table of entries; the vectors of each kind stand in a table of their own beside it, by the entry's id.
Table names are made of our own integers and enum words; every other value is a bound parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from foveal_runtime.store.entry import FACTS, KINDS, Entry, Facts, Float32, Hit
from foveal_runtime.store.filter import Compiled
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.tables import Tables
from foveal_runtime.store.vectors import HalfVector

if TYPE_CHECKING:
    from psycopg import AsyncConnection

VECTOR = ("id", "embedding")
"""Columns of a table of vectors."""
_TYPES = {
    "id": "text", "content_sha256": "bytea", "source": "text", "patient": "text", "eye": "text", "camera": "text",
    "site": "text", "acquired": "date", "icdr": "int2", "referable": "bool", "precision": "text", "attributes": "jsonb",
}  # fmt: skip
FACT_TYPES = tuple(_TYPES[name] for name in FACTS)
"""For binary COPY. The OID of halfvec differs between databases."""
OVERFETCH = 4
"""Finds of the index for each hit that is wanted; docs/decisions.md has the measurement."""
_FACTS = ", ".join(FACTS)


def to_row(facts: Facts, patients: PatientRefs | None = None) -> tuple[object, ...]:
    """Values of `FACTS`."""
    from psycopg.types.json import Jsonb

    values = {name: getattr(facts, name) for name in FACTS}
    attributes = dict(facts.attributes)
    if patients is not None:
        values["patient"] = patients.ref(facts.patient)
        values["source"] = patients.hide(facts.source, facts.patient)
        attributes = {name: patients.hide(value, facts.patient) for name, value in attributes.items()}
    values["attributes"] = Jsonb(attributes)
    return tuple(values.values())


def to_entry(row: tuple[Any, ...], kinds: Sequence[str]) -> Entry:
    """An entry from a row of `entries_sql`."""
    vectors = dict(zip(kinds, row[len(FACTS) :], strict=True))
    # Without their vectors a row says which there are: true or false.
    there = {kind: value for kind, value in vectors.items() if value is not None and value is not False}
    kept = {kind: None if value is True else value for kind, value in there.items()}
    return Entry(**dict(zip(FACTS, row, strict=False)), vectors=kept)


def to_hit(kind: str, row: tuple[Any, ...]) -> Hit:
    """A hit from a row of `FACTS`, the cosine distance and, when it was asked for, the vector."""
    distance = row[len(FACTS)]
    vector = row[len(FACTS) + 1] if len(row) > len(FACTS) + 1 else None
    # Distances of float16 vectors stray outside 0 to 2 by their rounding.
    score = min(1.0, max(-1.0, 1.0 - float(distance)))
    return Hit(**dict(zip(FACTS, row, strict=False)), kind=kind, score=score, vector=vector)


def _change(columns: Sequence[str]) -> str:
    return (
        "ON CONFLICT (id) DO UPDATE SET "
        + ", ".join(f"{c} = excluded.{c}" for c in columns if c != "id")
        # An unchanged row is left alone: indexing a folder twice costs no dead rows. It is locked all the same.
        + f" WHERE ({', '.join('t.' + c for c in columns)}) IS DISTINCT FROM ({', '.join('excluded.' + c for c in columns)})"
        + " RETURNING id"
    )


def upsert_sql(table: str, columns: Sequence[str]) -> str:
    """Insert or change one row; gives its id back when it is new or was changed."""
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} AS t ({', '.join(columns)}) VALUES ({marks}) {_change(columns)}"


async def create_staging(connection: AsyncConnection, kind: str | None, dim: int) -> str:
    """Make this connection's empty staging table for COPY; its rows go at commit. Returns its name.

    Args:
        connection: in a transaction.
        kind: of the vectors; None for entries.
        dim: of the vectors.
    """
    assert kind is None or kind in KINDS
    name = "foveal_staging_entries" if kind is None else f"foveal_staging_{kind}_{int(dim)}"
    facts = ", ".join(f"{name} {_TYPES[name]}" for name in FACTS)
    await connection.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name}"
        f" ({facts if kind is None else f'id text, embedding halfvec({int(dim)})'}) ON COMMIT DELETE ROWS"
    )
    return f"pg_temp.{name}"


def copy_sql(staging: str, columns: Sequence[str]) -> str:
    """Fill the staging table."""
    return f"COPY {staging} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"


def merge_sql(table: str, staging: str, columns: Sequence[str]) -> str:
    """Insert or change the rows of the staging table, in the order of their ids; gives the ids of those back."""
    names = ", ".join(columns)
    return f'INSERT INTO {table} AS t ({names}) SELECT {names} FROM {staging} ORDER BY id COLLATE "C" {_change(columns)}'


def lock_sql(tables: Tables) -> str:
    """Lock entries by id, in the order in which writers do."""
    return f"SELECT id FROM {tables.entries} WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE"


def lock_some_sql(tables: Tables, condition: Compiled) -> str:
    """Lock the next entries that pass, after an id; takes the condition's values, the id, and how many."""
    return f"SELECT id FROM {tables.entries} WHERE {condition.sql} AND id > %s ORDER BY id LIMIT %s FOR UPDATE"


def delete_sql(table: str) -> str:
    """Delete rows by id; gives their ids back."""
    return f"DELETE FROM {table} WHERE id = ANY(%s::text[]) RETURNING id"


def delete_bare_sql(tables: Tables) -> str:
    """Delete those of some entries that have no vector left."""
    bare = " AND ".join(f"NOT EXISTS (SELECT FROM {table} v WHERE v.id = e.id)" for table in tables.vectors.values())
    return f"DELETE FROM {tables.entries} e WHERE id = ANY(%s::text[]) AND {bare}"


def entries_sql(tables: Tables, kinds: Sequence[str], *, with_vectors: bool, where: str, rest: str = "") -> str:
    """Rows of `FACTS` and one column a kind: the vector, or whether there is one. One statement, so of one moment.

    Args:
        tables: of the collection.
        kinds: to look at; an entry without any of them is left out.
        with_vectors: read them.
        where: a condition on the entries.
        rest: ORDER BY, LIMIT, FOR UPDATE.
    """
    columns = ", ".join(f"v_{kind}.embedding" if with_vectors else f"v_{kind}.id IS NOT NULL" for kind in kinds)
    joins = " ".join(f"LEFT JOIN {tables.vectors[kind]} v_{kind} USING (id)" for kind in kinds)
    there = " OR ".join(f"v_{kind}.id IS NOT NULL" for kind in kinds)
    return f"SELECT {_FACTS}, {columns} FROM {tables.entries} {joins} WHERE ({where}) AND ({there}) {rest}"


def update_sql(tables: Tables, columns: Sequence[str]) -> str:
    """Change some facts of one entry; takes their values and the id."""
    return f"UPDATE {tables.entries} SET {', '.join(f'{name} = %s' for name in columns)} WHERE id = %s"


def known_sql(table: str) -> str:
    """Which of the ids exist."""
    return f"SELECT id FROM {table} WHERE id = ANY(%s::text[])"


def passing(tables: Tables, kind: str, condition: Compiled) -> str:
    """FROM and WHERE of the vectors of a kind whose entries pass."""
    if condition.sql == "TRUE":
        return tables.vectors[kind]
    return f"{tables.vectors[kind]} JOIN {tables.entries} USING (id) WHERE {condition.sql}"


def count_sql(tables: Tables, kind: str | None, condition: Compiled) -> str:
    """How many vectors of a kind pass, or how many entries."""
    source = f"{tables.entries} WHERE {condition.sql}" if kind is None else passing(tables, kind, condition)
    return f"SELECT count(*) FROM {source}"


def sample_sql(table: str) -> str:
    """A random sample, the same for one seed and one set of ids."""
    return f"SELECT id, embedding FROM {table} ORDER BY hashtextextended(id, %s), id LIMIT %s"


def exact_search(
    tables: Tables, kind: str, query_D: Float32, condition: Compiled, k: int, with_vectors: bool
) -> tuple[str, tuple[object, ...]]:
    """Compare with every vector whose entry passes.

    The `+ 0` keeps the planner from answering with the approximate index, whose expression has none.
    """
    half = HalfVector.of(query_D)
    vector = ", embedding" if with_vectors else ""
    compared = f"SELECT id, (embedding <=> %s) + 0 AS distance{vector} FROM {passing(tables, kind, condition)}"
    return _nearest(tables, compared, vector), (half, *condition.params, k)


def index_search(
    tables: Tables, kind: str, query_D: Float32, condition: Compiled, k: int, with_vectors: bool
) -> tuple[str, tuple[object, ...]]:
    """Ask the approximate index for more than `k`, keep the best `k`, and read the facts of those alone.

    The index orders its finds by float16 vectors that it has rounded once more, and yields them in batches (`relaxed_order`):
    near neighbours come in another order than that of the distance. So more than are wanted are fetched and sorted here. The
    `+ 0` makes that sort happen: without it the planner takes the index's order for the distance's and sorts ties alone.
    """
    half = HalfVector.of(query_D)
    vector = ", embedding" if with_vectors else ""
    found = (
        f"SELECT * FROM (SELECT id, (embedding <=> %s) + 0 AS distance{vector}"
        f" FROM {passing(tables, kind, condition)} ORDER BY embedding <=> %s LIMIT %s) AS found"
    )
    return _nearest(tables, found, vector), (half, *condition.params, half, OVERFETCH * k, k)


def _nearest(tables: Tables, found: str, vector: str) -> str:
    """The best of what was found, with the facts of those alone; takes their number."""
    return (
        f"SELECT {_FACTS}, distance{vector} FROM ({found} ORDER BY distance, id LIMIT %s) AS nearest"
        f" JOIN {tables.entries} USING (id) ORDER BY distance, id"
    )


def estimate_sql(tables: Tables, condition: Compiled) -> str:
    """What the planner thinks how many entries pass, without looking at any."""
    return f"EXPLAIN (FORMAT JSON) SELECT FROM {tables.entries} WHERE {condition.sql}"
