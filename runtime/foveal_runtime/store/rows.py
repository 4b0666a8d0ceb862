"""The SQL of one vector table and the conversion of items to rows and back. Executes nothing.

Table names are made of our own integers and enum words; every other value is a bound parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal_runtime.store.filter import Compiled
from foveal_runtime.store.item import KINDS, Float32, Hit, Item
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.vectors import HalfVector

if TYPE_CHECKING:
    from psycopg import AsyncConnection

FACTS = (
    "id", "content_sha256", "source", "patient", "eye", "camera", "site", "acquired", "icdr", "referable", "precision",
    "attributes",
)  # fmt: skip
COLUMNS = (*FACTS, "embedding")
# Of FACTS; the OID of halfvec, which comes last, differs between databases.
COPY_TYPES = (
    "text", "bytea", "text", "text", "text", "text", "text", "date", "int2", "bool", "text", "jsonb",
)  # fmt: skip
OVERFETCH = 4
"""Finds of the index for each hit that is wanted; docs/decisions.md has the measurement."""
_LIST = ", ".join(COLUMNS)
_CHANGE = (
    "ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{c} = excluded.{c}" for c in COLUMNS if c != "id")
    # An unchanged row is left alone: indexing a folder twice costs no dead rows.
    + f" WHERE ({', '.join('t.' + c for c in COLUMNS)}) IS DISTINCT FROM ({', '.join('excluded.' + c for c in COLUMNS)})"
)


def to_row(item: Item, vector: HalfVector, patients: PatientRefs | None = None) -> tuple[object, ...]:
    """Values of `COLUMNS`."""
    from psycopg.types.json import Jsonb

    return (
        item.id,
        item.content_sha256,
        item.source,
        item.patient if patients is None else patients.ref(item.patient),
        item.eye,
        item.camera,
        item.site,
        item.acquired,
        item.icdr,
        item.referable,
        item.precision,
        Jsonb(dict(item.attributes)),
        vector,
    )


def _facts(kind: str, row: tuple[Any, ...]) -> dict[str, Any]:
    facts = dict(zip(FACTS, row, strict=False))
    facts["kind"] = kind
    return facts


def to_item(kind: str, row: tuple[Any, ...]) -> Item:
    """An item from a row of `COLUMNS`."""
    return Item(**_facts(kind, row), vector=row[len(FACTS)])


def to_hit(kind: str, row: tuple[Any, ...]) -> Hit:
    """A hit from a row of `FACTS`, the cosine distance and, when it was asked for, the vector."""
    distance = row[len(FACTS)]
    vector = row[len(FACTS) + 1] if len(row) > len(FACTS) + 1 else None
    # Distances of float16 vectors stray outside 0 to 2 by their rounding.
    return Hit(**_facts(kind, row), score=min(1.0, max(-1.0, 1.0 - float(distance))), vector=vector)


def upsert_sql(table: str) -> str:
    """Insert or change one row of `COLUMNS`."""
    marks = ", ".join(["%s"] * len(COLUMNS))
    return f"INSERT INTO {table} AS t ({_LIST}) VALUES ({marks}) {_CHANGE}"


async def create_staging(connection: AsyncConnection, kind: str, dim: int) -> str:
    """Make this connection's empty staging table for COPY; its rows go at commit. Returns its name."""
    assert kind in KINDS
    name = f"foveal_staging_{kind}_{int(dim)}"
    await connection.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} (id text, content_sha256 bytea, source text, patient text, eye text,"
        " camera text, site text, acquired date, icdr smallint, referable boolean, precision text, attributes jsonb,"
        f" embedding halfvec({int(dim)})) ON COMMIT DELETE ROWS"
    )
    return f"pg_temp.{name}"


def copy_sql(staging: str) -> str:
    """Fill the staging table."""
    return f"COPY {staging} ({_LIST}) FROM STDIN (FORMAT BINARY)"


def merge_sql(table: str, staging: str) -> str:
    """Insert or change the rows of the staging table, in the order of their ids."""
    return f'INSERT INTO {table} AS t ({_LIST}) SELECT {_LIST} FROM {staging} ORDER BY id COLLATE "C" {_CHANGE}'


def delete_sql(table: str) -> str:
    """Delete rows by id; locks in the order of the ids, as writers do."""
    return f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id = ANY(%s::text[]) ORDER BY id FOR UPDATE)"


def get_sql(table: str) -> str:
    """Rows of `COLUMNS` by id."""
    return f"SELECT {_LIST} FROM {table} WHERE id = ANY(%s::text[])"


def known_sql(table: str) -> str:
    """Which of the ids exist."""
    return f"SELECT id FROM {table} WHERE id = ANY(%s::text[])"


def count_sql(table: str, condition: Compiled) -> str:
    """How many rows pass."""
    return f"SELECT count(*) FROM {table} WHERE {condition.sql}"


def sample_sql(table: str) -> str:
    """A random sample, the same for one seed and one set of ids."""
    return f"SELECT id, embedding FROM {table} ORDER BY hashtextextended(id, %s), id LIMIT %s"


def exact_search(
    table: str, query_D: Float32, condition: Compiled, k: int, with_vectors: bool
) -> tuple[str, tuple[object, ...]]:
    """Compare with every row that passes.

    The `+ 0` keeps the planner from answering with the approximate index, whose expression has none.
    """
    half = HalfVector.of(query_D)
    vector = ", embedding" if with_vectors else ""
    text = (
        f"SELECT {', '.join(FACTS)}, distance{vector} FROM (SELECT *, (embedding <=> %s) + 0 AS distance FROM {table}"
        f" WHERE {condition.sql} ORDER BY distance, id LIMIT %s) AS nearest ORDER BY distance, id"
    )
    return text, (half, *condition.params, k)


def index_search(
    table: str, query_D: Float32, condition: Compiled, k: int, with_vectors: bool
) -> tuple[str, tuple[object, ...]]:
    """Ask the approximate index for more than `k`, and keep the best `k`.

    The index orders its finds by float16 vectors that it has rounded once more, and yields them in batches (`relaxed_order`):
    near neighbours come in another order than that of the distance. So more than are wanted are fetched and sorted here. The
    `+ 0` makes that sort happen: without it the planner takes the index's order for the distance's and sorts ties alone.
    """
    half = HalfVector.of(query_D)
    vector = ", embedding" if with_vectors else ""
    text = (
        f"SELECT {', '.join(FACTS)}, distance{vector} FROM (SELECT *, (embedding <=> %s) + 0 AS distance FROM {table}"
        f" WHERE {condition.sql} ORDER BY embedding <=> %s LIMIT %s) AS nearest ORDER BY distance, id LIMIT %s"
    )
    return text, (half, *condition.params, half, OVERFETCH * k, k)


def estimate_sql(table: str, condition: Compiled) -> str:
    """What the planner thinks how many rows pass, without looking at any."""
    return f"EXPLAIN (FORMAT JSON) SELECT FROM {table} WHERE {condition.sql}"
