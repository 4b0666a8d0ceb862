"""What an ONNX file may hold, seen from its bytes: no data outside of it, no graph inside a graph. Runs nothing, needs no onnx.

ONNX Runtime would read another file's bytes as weights (external data), which no hash covers, and run a Loop for ever. Nothing
that `foveal export` writes has either. Protobuf's wire format: https://protobuf.dev/programming-guides/encoding/; the numbers
of fields are those of onnx.proto, which never change.
"""

from __future__ import annotations

from collections.abc import Iterator

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE = (22, 23)
_SPARSE_PARTS = (1, 2)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_DOMAINS = (b"", b"ai.onnx")

Fields = Iterator[tuple[int, int | memoryview]]


def check_graph(data: memoryview) -> None:
    """Refuse a graph file that reaches out of itself or holds graphs in graphs.

    Raises:
        ValueError: saying why, or that it is no ONNX file.
    """
    graphs = 0
    for number, value in _fields(data):
        if number in {_MODEL_TRAINING, _MODEL_FUNCTIONS}:
            raise ValueError("it holds functions or training")
        if number == _MODEL_GRAPH:
            graphs += 1
            _check_parts(_message(value))
    if graphs != 1:
        raise ValueError("it is no ONNX model")


def _check_parts(graph: memoryview) -> None:
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _check_node(_message(value))
        elif number == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif number == _GRAPH_SPARSE:
            _check_sparse(_message(value))


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == _NODE_DOMAIN and bytes(_message(value)) not in _DOMAINS:
            raise ValueError("it has operators that are not ONNX's own")
        if number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
            raise ValueError("it has a graph inside a graph (Loop, If, Scan)")
        if number in {_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS}:
            _check_tensor(_message(value))
        elif number in _ATTRIBUTE_SPARSE:
            _check_sparse(_message(value))


def _check_sparse(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number in _SPARSE_PARTS:
            _check_tensor(_message(value))


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise ValueError("it keeps weights in another file")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is no ONNX model")
    return value


def _fields(data: memoryview) -> Fields:
    """Number and value of each field: bytes by length as a view, everything else as a number (fixed widths as 0)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield key >> 3, number
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in {1, 5}:
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("it is no ONNX model")
        if length > len(data) - at:
            raise ValueError("it ends early")
        yield key >> 3, data[at : at + length] if kind == 2 else 0
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no ONNX model")
