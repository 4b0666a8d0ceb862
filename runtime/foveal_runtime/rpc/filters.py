"""`Filter` messages to the store's typed filters. Makes no SQL: that is `store.filter`'s."""

from __future__ import annotations

from datetime import date
from typing import Any

from foveal_runtime._proto import archive_pb2
from foveal_runtime.errors import InputError
from foveal_runtime.store.filter import MAX_DEPTH, AllOf, AnyOf, AttributeEquals, Column, Equals, Filter, In, Not, Range

_COLUMNS: dict[Any, Column] = {
    archive_pb2.FACT_ID: Column.ID,
    archive_pb2.FACT_PATIENT: Column.PATIENT,
    archive_pb2.FACT_EYE: Column.EYE,
    archive_pb2.FACT_CAMERA: Column.CAMERA,
    archive_pb2.FACT_SITE: Column.SITE,
    archive_pb2.FACT_PRECISION: Column.PRECISION,
    archive_pb2.FACT_SOURCE: Column.SOURCE,
}


def filter_from(message: archive_pb2.Filter, depth: int = 0) -> Filter:
    """The store's filter.

    Raises:
        InputError: an empty node, an unknown fact, a date that is none, or too deep a tree.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"filter is nested deeper than {MAX_DEPTH}; flatten it")
    node = message.WhichOneof("node")
    if node == "all":
        return AllOf(*(filter_from(part, depth + 1) for part in message.all.filters))
    if node == "any":
        return AnyOf(*(filter_from(part, depth + 1) for part in message.any.filters))
    if node == "not":
        return Not(filter_from(getattr(message, "not"), depth + 1))
    if node == "fact":
        column = _COLUMNS.get(message.fact.fact)
        if column is None:
            raise InputError("filter.fact is no fact this server knows; name one")
        return In(column, tuple(message.fact.values))
    if node == "acquired":
        return Range(Column.ACQUIRED, date_from(getattr(message.acquired, "from")), date_from(message.acquired.to))
    if node == "icdr":
        grades = message.icdr
        return Range(
            Column.ICDR,
            grades.at_least if grades.HasField("at_least") else None,
            grades.at_most if grades.HasField("at_most") else None,
        )
    if node == "referable":
        return Equals(Column.REFERABLE, message.referable)
    if node == "attribute":
        return AttributeEquals(message.attribute.key, message.attribute.value)
    raise InputError("filter has an empty node; set all, any, not, or a condition")


def date_from(text: str) -> date | None:
    """A date of the form YYYY-MM-DD; empty is None.

    Raises:
        InputError: another form.
    """
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError("a date is not of the form YYYY-MM-DD") from None
