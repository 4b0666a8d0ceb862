"""Every repeated field of every request has a limit, and more is refused by its path before anything walks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from foveal_runtime._proto import admin_pb2, archive_pb2, open_inference_grpc_pb2, screening_pb2
from foveal_runtime.errors import InputError, StudyError
from foveal_runtime.rpc.counts import check_counts, counts
from foveal_runtime.rpc.limits import MAX_FILTER_NODES

LIMITS = counts(max_studies=256)
MODULES = (screening_pb2, archive_pb2, admin_pb2, open_inference_grpc_pb2)


def requests() -> list[type]:
    """The message classes of all calls."""
    inputs = {
        method.input_type.full_name: method.input_type
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    return [GetMessageClass(descriptor) for descriptor in inputs.values()]


def repeated_fields(descriptor: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of field descriptors that end in a repeated one; a filter's own nesting is followed once."""
    for field in descriptor.fields:
        if path.count(field) > 0:
            continue
        if field.is_repeated:
            yield (*path, field)
        if field.type == FieldDescriptor.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            yield from repeated_fields(field.message_type, (*path, field))


CASES = [(request, path) for request in requests() for path in repeated_fields(request.DESCRIPTOR)]


def filled(request: type, path: tuple[Any, ...], count: int) -> Any:
    """A request with so many elements in the field at the end of the path."""
    whole = message = request()
    for field in path[:-1]:
        inner = getattr(message, field.name)
        message = inner.add() if field.is_repeated else inner
        if not field.is_repeated:
            message.SetInParent()
    last = path[-1]
    elements = getattr(message, last.name)
    if last.type != FieldDescriptor.TYPE_MESSAGE:
        value = {FieldDescriptor.TYPE_STRING: "x", FieldDescriptor.TYPE_BYTES: b"x"}.get(last.type, 1)
        elements.extend([value] * count)
    elif last.message_type.GetOptions().map_entry:
        of_messages = last.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE
        for i in range(count):
            if of_messages:
                elements[str(i)].SetInParent()
            else:
                elements[str(i)] = "x"
    else:
        one = elements.add()
        elements.extend([one] * (count - 1))
    return whole


def test_requests_of_every_service_are_looked_at() -> None:
    assert {request.DESCRIPTOR.name for request in requests()} >= {"GradeRequest", "UpsertStreamRequest", "ReloadRequest"}
    assert len(CASES) > 20


@pytest.mark.parametrize(("request_type", "path"), CASES, ids=lambda x: getattr(getattr(x, "DESCRIPTOR", None), "name", ""))
def test_a_field_at_its_limit_passes_and_one_more_is_refused_by_its_path(request_type: type, path: tuple[Any, ...]) -> None:
    most = LIMITS[path[-1].full_name]
    nodes = sum(field.message_type is not None and field.message_type.name == "Filter" for field in path[:-1])
    if path[-1].full_name == "foveal.v1.FilterList.filters":
        most -= nodes  # the nodes of the whole filter are counted as well
    check_counts(filled(request_type, path, most), LIMITS)
    check_refused(request_type, path, most + 1)


@pytest.mark.parametrize(
    ("request_type", "path"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])]
)
def test_a_million_is_refused_by_its_path(request_type: type, path: tuple[Any, ...]) -> None:
    check_refused(request_type, path, 1_000_000)


def check_refused(request_type: type, path: tuple[Any, ...], count: int) -> None:
    with pytest.raises(InputError) as refused:
        check_counts(filled(request_type, path, count), LIMITS)
    if isinstance(refused.value, StudyError):
        named = re.sub(r"\[\d+\]", "", refused.value.field)
        assert named == ".".join(field.name for field in path)
    else:
        assert str(MAX_FILTER_NODES) in str(refused.value)


def test_a_filter_that_is_nested_too_deep_is_refused() -> None:
    node = archive_pb2.Filter(eye="EYE_LEFT")
    for _ in range(40):
        node = archive_pb2.Filter(**{"not": node})
    with pytest.raises(InputError, match="nested deeper than 16"):
        check_counts(archive_pb2.SearchRequest(filter=node), LIMITS)
