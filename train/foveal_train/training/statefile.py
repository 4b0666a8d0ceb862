"""State dictionaries as JSON beside safetensors: written and read exactly, and reading runs nothing. Knows no training.

`NAME.json` has the structure and every number, `NAME.safetensors` the tensors that it names. Python writes a float so that
the same float is read. Tensors keep their memory layout too, as another one may be added up in another order.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file
from torch import Tensor

MAX_JSON_BYTES = 64 << 20
"""Of a structure; that of the `base` profile with AdamW has about 0.2 MB."""
SUFFIXES = (".json", ".safetensors")


def write_state(folder: Path, name: str, state: dict[str, Any]) -> None:
    """Write nested dictionaries, lists and tuples of tensors, numbers, strings and None.

    Raises:
        OSError, SafetensorError: no room, or the folder can't be written.
        TypeError: something else is in it.
    """
    tensors: dict[str, Tensor] = {}
    document = _packed(state, tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(document, allow_nan=False), encoding="utf-8")


def read_state(folder: Path, name: str) -> dict[str, Any]:
    """What `write_state` wrote.

    Raises:
        OSError, SafetensorError, ValueError, LookupError, TypeError, RecursionError: missing or damaged.
    """
    document = json.loads(read_bytes(folder / f"{name}.json", most=MAX_JSON_BYTES))
    state = _unpacked(document, load(read_bytes(folder / f"{name}.safetensors")))
    if not isinstance(state, dict):
        raise TypeError("no dictionary")
    return state


def read_bytes(path: Path, *, most: int | None = None) -> bytes:
    """A plain file: through a link it could be any, and a pipe would never end.

    Raises:
        OSError: it can't be read, or is a link.
        ValueError: it is no plain file, or larger than `most` bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or (most is not None and found.st_size > most):
            raise ValueError("no plain file, or too large")
        return file.read()


def check_like(found: Any, expected: Any) -> None:
    """Refuse a state whose keys or kinds of values are not those of another; a number may take None's place.

    Some objects take whatever attributes a state names, methods too.

    Raises:
        ValueError: they differ.
    """
    if isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            raise ValueError("other keys")
        for key, value in expected.items():
            check_like(found[key], value)
    elif isinstance(expected, list | tuple):
        if type(found) is not type(expected) or len(found) != len(expected):
            raise ValueError("another length")
        for one, other in zip(found, expected, strict=True):
            check_like(one, other)
    elif not _alike(found, expected):
        raise ValueError("another kind of value")


def _alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, Tensor) or isinstance(found, Tensor):
        return isinstance(found, Tensor) and isinstance(expected, Tensor)
    number = isinstance(found, int | float)
    return type(found) is type(expected) or (number and (expected is None or isinstance(expected, int | float)))


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON of a value; its tensors go into `tensors`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        plain = value.detach().cpu()
        last = plain.dim() == 4 and not plain.is_contiguous() and plain.is_contiguous(memory_format=torch.channels_last)
        # A copy each: safetensors takes no two tensors of the same memory.
        tensors[name] = plain.clone(memory_format=torch.contiguous_format)
        return {"tensor": name, "channels_last": last}
    if isinstance(value, dict):
        if not all(isinstance(key, int | str) for key in value):
            raise TypeError("a key is neither a number nor a string")
        return {"dict": [[key, _packed(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_packed(item, tensors) for item in value]}
    raise TypeError(f"{type(value).__name__} is no part of a state")


def _unpacked(document: Any, tensors: dict[str, Tensor]) -> Any:
    """Inverse of `_packed`."""
    if not isinstance(document, dict):
        if isinstance(document, list):
            raise TypeError("a bare list")
        return document
    if "tensor" in document:
        tensor = tensors[document["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if document["channels_last"] else tensor
    [(kind, held)] = document.items()
    if kind == "float":
        return float(held)
    if kind == "dict":
        return {key: _unpacked(item, tensors) for key, item in held}
    if kind not in {"list", "tuple"}:
        raise ValueError("an unknown kind")
    items = [_unpacked(item, tensors) for item in held]
    return tuple(items) if kind == "tuple" else items
