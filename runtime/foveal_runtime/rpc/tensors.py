"""Tensors of the Open Inference Protocol to Python values and back. Knows no model.

Elements come in a field of their datatype or as raw bytes: numbers in little-endian order, BYTES each after its length in four
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foveal_runtime._proto import open_inference_grpc_pb2 as inference
from foveal_runtime.errors import InputError

BYTES, FP32, FP64 = "BYTES", "FP32", "FP64"
NUMBERS = {
    "BOOL": ("?", "bool_contents"),
    "INT8": ("<i1", "int_contents"),
    "INT16": ("<i2", "int_contents"),
    "INT32": ("<i4", "int_contents"),
    "INT64": ("<i8", "int64_contents"),
    "UINT8": ("<u1", "uint_contents"),
    "UINT16": ("<u2", "uint_contents"),
    "UINT32": ("<u4", "uint_contents"),
    "UINT64": ("<u8", "uint64_contents"),
    FP32: ("<f4", "fp32_contents"),
    FP64: ("<f8", "fp64_contents"),
}
"""By datatype: NumPy's, and the field of its elements."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any] = field(repr=False)
    """Elements in row-major order: bytes, or numbers."""
    labels: tuple[str, ...] = ()
    """Of the last axis."""


def read_inputs(request: Any, most: int) -> dict[str, list[Any]]:
    """The inputs' elements by name, one a study.

    Args:
        request: `ModelInferRequest`.
        most: studies.

    Raises:
        InputError: shapes, datatypes or contents that do not fit; no element is quoted.
    """
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        raise InputError(f"raw_input_contents has {len(raw)} parts for {len(request.inputs)} inputs; send one for each")
    found: dict[str, list[Any]] = {}
    for i, each in enumerate(request.inputs):
        if each.name in found:
            raise InputError("an input comes twice; send each once")
        shape = tuple(each.shape)
        # A column counts as a list: some clients know no other batches.
        if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)) or not 0 < shape[0] <= most:
            raise InputError(f"input {i} has a shape that is none of [N] and [N, 1] with 1 to {most} studies")
        values = unpacked(each.datatype, raw[i], shape[0], i) if raw else _contents(each, i)
        if len(values) != shape[0]:
            raise InputError(f"input {i} has {len(values)} elements, and its shape says {shape[0]}")
        found[each.name] = values
    if len({len(values) for values in found.values()}) > 1:
        raise InputError("inputs have different numbers of studies; send one element a study in each")
    return found


def _contents(tensor: Any, i: int) -> list[Any]:
    name = "bytes_contents" if tensor.datatype == BYTES else NUMBERS.get(tensor.datatype, ("", ""))[1]
    if not name:
        raise _unknown(i)
    return list(getattr(tensor.contents, name))


def unpacked(datatype: str, data: bytes, count: int, i: int) -> list[Any]:
    """Elements of raw bytes.

    Args:
        datatype: of the protocol.
        data: raw.
        count: elements that there should be; no more are looked at.
        i: number of the input, for errors.

    Raises:
        InputError: they are no elements of that datatype.
    """
    if datatype == BYTES:
        return _unpacked_bytes(data, count, i)
    if datatype not in NUMBERS:
        raise _unknown(i)
    kind = np.dtype(NUMBERS[datatype][0])
    if len(data) != count * kind.itemsize:
        raise InputError(f"input {i} has {len(data)} raw bytes, {count} elements of {datatype} have {count * kind.itemsize}")
    values: list[Any] = np.frombuffer(data, kind).tolist()
    return values


def _unpacked_bytes(data: bytes, count: int, i: int) -> list[bytes]:
    values, at = [], 0
    for _ in range(count):
        end = at + 4
        if end > len(data) or end + (size := struct.unpack_from("<I", data, at)[0]) > len(data):
            raise InputError(f"input {i}: raw BYTES end within an element; each comes after its length in four bytes")
        values.append(data[end : end + size])
        at = end + size
    if at != len(data):
        raise InputError(f"input {i}: raw BYTES have more elements than the shape says")
    return values


def _unknown(i: int) -> InputError:
    return InputError(f"input {i} has no datatype of the protocol; want BYTES or {', '.join(NUMBERS)}")


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """Elements as raw bytes.

    Raises:
        ValueError: they are none of that datatype.
    """
    if datatype == BYTES:
        return b"".join(part for value in values for part in (struct.pack("<I", len(value)), value))
    return np.asarray(values, NUMBERS[datatype][0]).tobytes()


def outputs_to(response: Any, tensors: Sequence[Tensor], *, raw: bool) -> None:
    """Put outputs into a `ModelInferResponse`.

    Args:
        response: to be filled.
        tensors: in order.
        raw: as raw bytes, as the request's were.
    """
    for each in tensors:
        output = response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        if each.labels:
            output.parameters["labels"].CopyFrom(inference.InferParameter(string_param="|".join(each.labels)))
        if raw:
            response.raw_output_contents.append(packed(each.datatype, each.values))
        else:
            name = "bytes_contents" if each.datatype == BYTES else NUMBERS[each.datatype][1]
            getattr(output.contents, name).extend(each.values)
