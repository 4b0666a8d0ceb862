"""JSON from anyone, read strictly: UTF-8, finite numbers, no key twice, no control characters, bounded. Knows no bundle."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any, NoReturn

MAX_DEPTH = 40
"""Of lists and objects in each other; a manifest has 6."""
_MAX_DIGITS = 30


def parse_json(raw: bytes, *, most_bytes: int, texts: bool = False) -> Any:
    """The document.

    Args:
        raw: the file's bytes.
        most_bytes: its largest size.
        texts: strings may have lines.

    Raises:
        ValueError: in words that quote nothing of the document.
    """
    if len(raw) > most_bytes:
        raise ValueError(f"it has {len(raw)} bytes, {most_bytes} are the limit")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not in UTF-8") from None
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON at line {error.lineno}") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    _check(document, texts=texts)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it has a key twice")  # readers differ in which one they take
    return found


def _constant(_: str) -> NoReturn:
    raise ValueError("it has a number that is not finite")


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _constant(text)


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"it has a number of more than {_MAX_DIGITS} digits")
    return int(text)


def _check(document: Any, *, texts: bool) -> None:
    """Refuse depth, and what would reach a terminal as a command."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [part for each in level for part in _parts(each, texts)]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _parts(value: Any, texts: bool) -> list[Any]:
    if isinstance(value, str) and not (value.isprintable() or all(_is_plain(letter, texts) for letter in value)):
        raise ValueError("it has a control character")
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _is_plain(letter: str, texts: bool) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs" or (texts and letter in "\n\t\r")
