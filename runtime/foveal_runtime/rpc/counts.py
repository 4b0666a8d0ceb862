"""How many elements each repeated field of a request may have, checked before anything walks it.

One message of a megabyte can name millions of kinds, ids or filter nodes: walking those in Python would hold up every other
caller for seconds. Lengths are known without walking, so a field is refused by its length and path first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor  # type: ignore[import-untyped]

from foveal_runtime.errors import InputError, StudyError
from foveal_runtime.rpc.limits import (
    MAX_AXES,
    MAX_FACT_VALUES,
    MAX_FILTER_NODES,
    MAX_KINDS,
    MAX_TENSORS,
    MAX_VALUES,
    MAX_VECTORS,
)
from foveal_runtime.store.entry import CHANGEABLE, MAX_ATTRIBUTES, MAX_IDS
from foveal_runtime.store.filter import MAX_DEPTH

_FILTER = "foveal.v1.Filter"
Counts = Mapping[str, int]
"""Most elements by the field's full name, for example `foveal.v1.GradeRequest.studies`."""


def counts(max_studies: int) -> dict[str, int]:
    """The limits of a server.

    Args:
        max_studies: studies or entries in one request.
    """
    named = {
        "GradeRequest.studies": max_studies,
        "EmbedRequest.studies": max_studies,
        "GradeExamRequest.studies": max_studies,
        "UpsertRequest.entries": max_studies,
        "EmbedRequest.kinds": MAX_KINDS,
        "EmbedStreamRequest.kinds": MAX_KINDS,
        "UpsertRequest.kinds": MAX_KINDS,
        "UpsertStreamRequest.kinds": MAX_KINDS,
        "VectorSet.vectors": MAX_VECTORS,
        "Vector.values": MAX_VALUES,
        "Facts.attributes": MAX_ATTRIBUTES,
        "DeleteRequest.ids": MAX_IDS,
        "GetRequest.ids": MAX_IDS,
        "FilterList.filters": MAX_FILTER_NODES,
        "FactIn.values": MAX_FACT_VALUES,
    }
    ours = {f"foveal.v1.{name}": most for name, most in named.items()}
    return {**ours, **_inference(max_studies), "google.protobuf.FieldMask.paths": len(CHANGEABLE)}


def _inference(max_studies: int) -> dict[str, int]:
    """Those of the Open Inference Protocol: every tensor has an element a study."""
    request = "inference.ModelInferRequest"
    tensors = ("inputs", "outputs", "raw_input_contents", "parameters", "InferInputTensor.parameters")
    found = {f"{request}.{name}": MAX_TENSORS for name in (*tensors, "InferRequestedOutputTensor.parameters")}
    kinds = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
    found |= {f"inference.InferTensorContents.{kind}_contents": max_studies for kind in kinds}
    return {**found, f"{request}.InferInputTensor.shape": MAX_AXES}


def check_counts(request: Any, limits: Counts) -> None:
    """Refuse a request with more elements than a field may have.

    Raises:
        StudyError: naming the field by its path, how many it has and how many it may.
        InputError: a filter of too many or too deeply nested nodes.
    """
    _check(request, limits, "", [MAX_FILTER_NODES], 0)


def check_count(where: str, count: int, most: int) -> None:
    """Refuse too many elements of one field.

    Args:
        where: the field's path.
        count: that it has.
        most: that it may have.

    Raises:
        StudyError: naming the field, how many it has and how many it may.
    """
    if count > most:
        raise StudyError(f"{where} has {count} elements, at most {most} are allowed; send them in parts", field=where)


def _check(message: Any, limits: Counts, path: str, nodes: list[int], depth: int) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    if descriptor.full_name == _FILTER:
        nodes[0] -= 1
        if nodes[0] < 0:
            raise InputError(f"filter has more than {MAX_FILTER_NODES} nodes; split the search")
        if depth > MAX_DEPTH:
            raise InputError(f"filter is nested deeper than {MAX_DEPTH}; flatten it")
        depth += 1
    for field in descriptor.fields:
        where = f"{path}.{field.name}" if path else field.name
        if field.is_repeated:
            elements = getattr(message, field.name)
            check_count(where, len(elements), limits[field.full_name])
            if field.type == FieldDescriptor.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
                for i, element in enumerate(elements):
                    _check(element, limits, f"{where}[{i}]", nodes, depth)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and message.HasField(field.name):
            _check(getattr(message, field.name), limits, where, nodes, depth)
