"""`Filter` messages to the store's typed filters. Makes no SQL: that is `store.filter`'s."""

from __future__ import annotations

from datetime import date
from typing import Any

from foveal_runtime._proto import archive_pb2
from foveal_runtime.errors import InputError, StudyError
from foveal_runtime.rpc.grade_messages import ICDR_OF, REFERRAL_OF
from foveal_runtime.rpc.messages import EYE_OF, PRECISION_OF, known
from foveal_runtime.store.filter import MAX_DEPTH, AllOf, AnyOf, AttributeEquals, Column, Equals, Filter, In, Not, Range

_COLUMNS: dict[Any, Column] = {
    archive_pb2.FACT_ID: Column.ID,
    archive_pb2.FACT_PATIENT: Column.PATIENT,
    archive_pb2.FACT_CAMERA: Column.CAMERA,
    archive_pb2.FACT_SITE: Column.SITE,
    archive_pb2.FACT_SOURCE: Column.SOURCE,
}


def filter_from(message: archive_pb2.Filter, path: str = "filter", depth: int = 0) -> Filter:
    """The store's filter.

    Args:
        message: a node.
        path: where it stands in the request.
        depth: of the node below the root.

    Raises:
        InputError: an empty node, a date that is none, or too deep a tree.
        StudyError: an unknown fact or enum value, by its path.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"filter is nested deeper than {MAX_DEPTH}; flatten it")
    node = message.WhichOneof("node")
    if node == "all":
        return AllOf(*(filter_from(p, f"{path}.all.filters[{i}]", depth + 1) for i, p in enumerate(message.all.filters)))
    if node == "any":
        return AnyOf(*(filter_from(p, f"{path}.any.filters[{i}]", depth + 1) for i, p in enumerate(message.any.filters)))
    if node == "not":
        return Not(filter_from(getattr(message, "not"), f"{path}.not", depth + 1))
    if node == "fact":
        return In(known(_COLUMNS, message.fact.fact, f"{path}.fact.fact"), tuple(message.fact.values))
    if node == "eye":
        eye = known(EYE_OF, message.eye, f"{path}.eye")
        return Equals(Column.EYE, "" if eye is None else eye.value)
    if node == "precision":
        return Equals(Column.PRECISION, known(PRECISION_OF, message.precision, f"{path}.precision").value)
    if node == "acquired":
        first = date_from(getattr(message.acquired, "from"), f"{path}.acquired.from")
        return Range(Column.ACQUIRED, first, date_from(message.acquired.to, f"{path}.acquired.to"))
    if node == "icdr":
        grades = message.icdr
        return Range(
            Column.ICDR,
            known(ICDR_OF, grades.at_least, f"{path}.icdr.at_least") if grades.at_least else None,
            known(ICDR_OF, grades.at_most, f"{path}.icdr.at_most") if grades.at_most else None,
        )
    if node == "referral":
        return Equals(Column.REFERABLE, known(REFERRAL_OF, message.referral, f"{path}.referral"))
    if node == "attribute":
        return AttributeEquals(message.attribute.key, message.attribute.value)
    raise InputError(f"{path} has an empty node; set all, any, not, or a condition")


def date_from(text: str, path: str) -> date | None:
    """A date of the form YYYY-MM-DD; empty is None.

    Raises:
        StudyError: another form, by its path.
    """
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise StudyError(f"{path} is not a date of the form YYYY-MM-DD; mend it, or leave it out", field=path) from None


def conditions(node: Filter) -> int:
    """How many conditions a filter has; none passes everything, or nothing."""
    if isinstance(node, AllOf | AnyOf):
        return sum(map(conditions, node.parts))
    return conditions(node.part) if isinstance(node, Not) else 1
