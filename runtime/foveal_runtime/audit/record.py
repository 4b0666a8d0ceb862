"""One record of the trail as a line of JSON that holds the hash of the line before it, and its own. Does no I/O.

A record's hash is the SHA-256 of its line up to the last key, `hash`. A reader without foveal checks it in three lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FIRST = "0" * 64
"""Stands for the hash of the record before the first one."""
_SEAL = b',"hash":"'
_END = b'"}'
_TAIL = len(_SEAL) + 64 + len(_END)


class RecordError(ValueError):
    """A line that is no whole record; says why."""


def seal(body: Mapping[str, Any], sequence: int, previous: str) -> tuple[bytes, str]:
    """The line of a record, its newline included, and its hash.

    Args:
        body: what happened; keys `sequence`, `previous` and `hash` are the trail's.
        sequence: its number, 1 for the first.
        previous: hash of the record before it.
    """
    text = json.dumps({"sequence": sequence, **body, "previous": previous}, separators=(",", ":"), allow_nan=False)
    content = text[:-1].encode()
    own = hashlib.sha256(content).hexdigest()
    return content + _SEAL + own.encode() + _END + b"\n", own


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a line without its newline.

    Raises:
        RecordError: it is cut short or was changed.
    """
    content, tail = line[:-_TAIL], line[-_TAIL:]
    if not (tail.startswith(_SEAL) and tail.endswith(_END)):
        raise RecordError("it is no whole record")
    if hashlib.sha256(content).hexdigest().encode() != tail[len(_SEAL) : -len(_END)]:
        raise RecordError("its content does not have the hash that it says")
    try:
        document = json.loads(line)
    except ValueError:
        raise RecordError("it is no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("sequence"), int):
        raise RecordError("it has no sequence number")
    return document
