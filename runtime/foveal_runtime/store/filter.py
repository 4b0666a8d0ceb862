"""A typed filter over stored facts, and its one translation to SQL with bound parameters. Executes nothing.

No string of a caller ever becomes SQL text: columns come from the closed enum `Column`, operators from the node types,
and every value is a parameter.

    AllOf(Equals(Column.EYE, "left"), Range(Column.ICDR, at_least=2), Not(AttributeEquals("device", "portable")))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from foveal_runtime.errors import InputError

MAX_TERMS = 1_000
"""Comparisons in one filter, members of `In` included."""
MAX_DEPTH = 16
_MAX_VALUE_CHARS = 4096

Value = str | int | bool | date


class Column(StrEnum):
    """A fact that can be filtered on; the value is the column's name."""

    ID = "id"
    PATIENT = "patient"
    EYE = "eye"
    CAMERA = "camera"
    SITE = "site"
    ACQUIRED = "acquired"
    ICDR = "icdr"
    REFERABLE = "referable"
    PRECISION = "precision"
    SOURCE = "source"


_TYPES: dict[Column, type[Value]] = {Column.ACQUIRED: date, Column.ICDR: int, Column.REFERABLE: bool}
_RANGED = (Column.ACQUIRED, Column.ICDR)


@dataclass(frozen=True, slots=True)
class Equals:
    """The column equals the value. An unknown fact equals nothing."""

    column: Column
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """The column equals one of the values; no values match nothing."""

    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends included; an end that is None is open. Only `acquired` and `icdr` have an order."""

    column: Column
    at_least: Value | None = None
    at_most: Value | None = None


@dataclass(frozen=True, slots=True)
class AttributeEquals:
    """The item's attribute `key` has exactly this value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; without parts, always true."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; without parts, never true."""

    parts: tuple[Filter, ...]

    def __init__(self, *parts: Filter) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold. `Not(Equals(site, x))` holds for items whose site is unknown."""

    part: Filter


Filter = Equals | In | Range | AttributeEquals | AllOf | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition over the item table with `%s` placeholders, and the values for them in order."""

    sql: str
    params: tuple[object, ...]


def compile_filter(filter_: Filter | None, *, patient_ref: Callable[[str], str] | None = None) -> Compiled:
    """Turn a filter into SQL text made of our own words and bound parameters.

    Args:
        filter_: None and an empty `AllOf` select everything.
        patient_ref: applied to every patient reference, as it was when items were stored.

    Raises:
        InputError: too many terms, too deep, a value of the wrong type for its column, or an order on an unordered column.
    """
    if filter_ is None:
        return Compiled("TRUE", ())
    params: list[object] = []
    budget = [MAX_TERMS]
    return Compiled(_compile(filter_, params, budget, 0, patient_ref), tuple(params))


def _compile(
    node: Filter, params: list[object], budget: list[int], depth: int, patient_ref: Callable[[str], str] | None
) -> str:
    if depth > MAX_DEPTH:
        raise InputError(f"filter is nested deeper than {MAX_DEPTH}; flatten it")
    if isinstance(node, AllOf | AnyOf):
        # All parts at once, so that a filter of a million is refused before it is walked.
        _spend(budget, 1 + max(0, len(node.parts) - MAX_TERMS))
        word, empty = (" AND ", "TRUE") if isinstance(node, AllOf) else (" OR ", "FALSE")
        return "(" + (word.join(_compile(p, params, budget, depth + 1, patient_ref) for p in node.parts) or empty) + ")"
    if isinstance(node, Not):
        _spend(budget, 1)
        # IS NOT TRUE: an unknown fact makes a comparison NULL, and NOT NULL would drop the row.
        return f"({_compile(node.part, params, budget, depth + 1, patient_ref)} IS NOT TRUE)"
    if isinstance(node, AttributeEquals):
        _spend(budget, 1)
        name, value = _text("attribute name", node.key), _text("attribute value", node.value)
        params.append(json.dumps({name: value}))
        if patient_ref is None or not value:
            return "attributes @> %s::jsonb"
        params.append(json.dumps({name: patient_ref(value)}))  # as it is stored where it is the patient's reference
        return "(attributes @> %s::jsonb OR attributes @> %s::jsonb)"
    if isinstance(node, Equals):
        _spend(budget, 1)
        params.append(_value(node.column, node.value, patient_ref))
        return f"{_column(node.column).value} = %s"
    if isinstance(node, In):
        _spend(budget, max(1, len(node.values)))
        params.append([_value(node.column, v, patient_ref) for v in node.values])
        return f"{_column(node.column).value} = ANY(%s::{_array_type(node.column)})"
    if isinstance(node, Range):
        return _range(node, params, budget)
    raise InputError(f"filter holds a {type(node).__name__}, which is no filter node")


def _range(node: Range, params: list[object], budget: list[int]) -> str:
    _spend(budget, 1)
    if node.column not in _RANGED:
        raise InputError(f"{node.column} has no order; a range works on {' and '.join(_RANGED)}")
    terms = []
    for operator, end in ((">=", node.at_least), ("<=", node.at_most)):
        if end is not None:
            params.append(_value(node.column, end, None))
            terms.append(f"{node.column.value} {operator} %s")
    if not terms:
        raise InputError(f"range on {node.column} has neither end; give at_least, at_most or both")
    return "(" + " AND ".join(terms) + ")"


def _spend(budget: list[int], terms: int) -> None:
    budget[0] -= terms
    if budget[0] < 0:
        raise InputError(
            f"filter has more than {MAX_TERMS} terms; split the search, or store what you select by as an attribute"
        )


def _column(column: Column) -> Column:
    # A Column made by hand from a string would otherwise reach the SQL text.
    if not isinstance(column, Column):
        raise InputError("filter names a column that does not exist; use one of " + ", ".join(Column))
    return column


def _value(column: Column, value: Value, patient_ref: Callable[[str], str] | None) -> Value:
    wanted = _TYPES.get(_column(column), str)
    # bool is an int in Python, and a datetime is a date.
    if type(value) is not wanted:
        raise InputError(f"filter on {column} got a {type(value).__name__}, a {wanted.__name__} is wanted")
    if isinstance(value, str):
        _text(str(column), value)
        return patient_ref(value) if column is Column.PATIENT and patient_ref is not None and value else value
    if column is Column.ICDR and isinstance(value, int) and not -32768 <= value <= 32767:
        raise InputError("filter on icdr is far outside the grades 0 to 4")
    return value


def _array_type(column: Column) -> str:
    return {Column.ACQUIRED: "date[]", Column.ICDR: "smallint[]", Column.REFERABLE: "boolean[]"}.get(column, "text[]")


def _text(name: str, value: str) -> str:
    if len(value) > _MAX_VALUE_CHARS:
        raise InputError(f"filter on {name} has {len(value)} characters, at most {_MAX_VALUE_CHARS} are allowed")
    if "\x00" in value:
        raise InputError(f"filter on {name} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"filter on {name} holds a lone surrogate; send valid Unicode") from error
    return value


def conjunction(parts: Sequence[Filter]) -> Filter | None:
    """`AllOf` of the parts; None for none, the part itself for one."""
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AllOf(*parts)
