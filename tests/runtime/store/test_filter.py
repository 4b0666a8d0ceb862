"""Filters against the same meaning written in Python, injection, and what is refused."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal_runtime.errors import InputError
from foveal_runtime.store import (
    AllOf,
    AnyOf,
    Archive,
    AttributeEquals,
    Column,
    Entry,
    Equals,
    Filter,
    In,
    Not,
    Range,
    StoreOptions,
)
from foveal_runtime.store.filter import MAX_TERMS, compile_filter

from .conftest import SPACE, entry, unit_vectors, vector_of

DAYS = [None, date(2023, 1, 1), date(2024, 6, 30), date(2025, 12, 31)]
SITES = ["", "Porto", "O'Brien; DROP TABLE foveal.collections; --", "%s %(x)s"]


def world() -> list[Entry]:
    """Sixty items that differ in every fact, unknown values included."""
    return [
        entry(
            id=f"item-{i}",
            kind="image",
            vector=v,
            site=SITES[i % 4],
            eye=("", "left", "right")[i % 3],
            acquired=DAYS[i % 4],
            icdr=(None, 0, 1, 2, 3, 4)[i % 6],
            referable=(None, False, True)[i % 3],
            attributes={"device": f"d{i % 5}", "o'k": 'a"b'} if i % 2 else {},
        )
        for i, v in enumerate(unit_vectors(60))
    ]


def holds(node: Filter, item: Entry) -> bool:
    """What a filter means."""
    if isinstance(node, AllOf):
        return all(holds(part, item) for part in node.parts)
    if isinstance(node, AnyOf):
        return any(holds(part, item) for part in node.parts)
    if isinstance(node, Not):
        return not holds(node.part, item)
    if isinstance(node, AttributeEquals):
        return item.attributes.get(node.key) == node.value
    fact = getattr(item, node.column.value)
    if fact is None:
        return False
    if isinstance(node, Equals):
        return bool(fact == node.value)
    if isinstance(node, In):
        return fact in node.values
    return (node.at_least is None or fact >= node.at_least) and (node.at_most is None or fact <= node.at_most)


grades = st.integers(-1, 5)
days = st.sampled_from(DAYS[1:])
leaves = st.one_of(
    st.builds(Equals, st.just(Column.SITE), st.sampled_from(SITES)),
    st.builds(Equals, st.just(Column.REFERABLE), st.booleans()),
    st.builds(Equals, st.just(Column.ACQUIRED), days),
    st.builds(In, st.just(Column.ICDR), st.lists(grades, max_size=3).map(tuple)),
    st.builds(In, st.just(Column.EYE), st.lists(st.sampled_from(["left", "right", ""]), max_size=2).map(tuple)),
    st.builds(Range, st.just(Column.ICDR), grades, st.none()),
    st.builds(Range, st.just(Column.ACQUIRED), days, days),
    st.builds(AttributeEquals, st.sampled_from(["device", "o'k", "none"]), st.sampled_from(["d1", 'a"b', ""])),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: AllOf(*parts)),
        st.lists(inner, max_size=3).map(lambda parts: AnyOf(*parts)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


async def test_filters_select_what_they_mean(store_url: str, collection_name: str) -> None:
    items = world()
    archive = await Archive.open(store_url, space_id=SPACE, collection=collection_name, options=StoreOptions(maintain=False))
    drawn: list[Filter] = []

    @settings(max_examples=120, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(filters)
    def collect(node: Filter) -> None:
        drawn.append(node)

    collect()
    try:
        await archive.upsert(items)
        for node in drawn:
            wanted = {item.id for item in items if holds(node, item)}
            result = await archive.search(vector_of(items[0]), kind="image", k=100, filter=node)
            assert {hit.id for hit in result.hits} == wanted, node
            assert await archive.count(kind="image", filter=node) == len(wanted)
    finally:
        await archive.close()


def test_no_value_becomes_sql_text() -> None:
    poison = "x'); DROP TABLE foveal.collections; --"
    node = AllOf(Equals(Column.SITE, poison), In(Column.PATIENT, (poison,)), AttributeEquals(poison, poison))
    compiled = compile_filter(node)
    assert "DROP" not in compiled.sql
    assert compiled.params[0] == poison


def test_a_column_from_a_string_is_refused() -> None:
    with pytest.raises(InputError, match="column that does not exist"):
        compile_filter(Equals("site; DROP TABLE x", "y"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (In(Column.ID, tuple(str(i) for i in range(10_000))), f"more than {MAX_TERMS} terms"),
        (AnyOf(*[Equals(Column.ICDR, i % 5) for i in range(10_000)]), f"more than {MAX_TERMS} terms"),
        (Equals(Column.ICDR, "3"), "got a str, a int is wanted"),
        (Equals(Column.ICDR, True), "got a bool"),
        (Equals(Column.ICDR, 10**12), "far outside"),
        (Equals(Column.SITE, "a\x00b"), "NUL"),
        (Equals(Column.SITE, "\ud800"), "surrogate"),
        (Equals(Column.SITE, "x" * 5000), "at most 4096"),
        (Range(Column.SITE, "a", "b"), "has no order"),
        (Range(Column.ICDR), "neither end"),
    ],
)
def test_an_unusable_filter_is_refused_by_name(node: Filter, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_filter(node)


def test_a_filter_nested_without_end_is_refused() -> None:
    node: Filter = Equals(Column.ICDR, 1)
    for _ in range(500):
        node = Not(node)
    with pytest.raises(InputError, match="nested deeper"):
        compile_filter(node)


async def test_contradictions_find_nothing(archive: Archive) -> None:
    await archive.upsert(world())
    node = AllOf(Equals(Column.ICDR, 1), Equals(Column.ICDR, 2), Range(Column.ICDR, 4, 0))
    result = await archive.search(unit_vectors(1)[0], kind="image", filter=node)
    assert result.hits == ()
    assert result.exact
