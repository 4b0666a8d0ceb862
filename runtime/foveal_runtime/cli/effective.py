"""The effective configuration of a server as text: TOML with where each value was set, or a document. Reads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.store.location import printable

if TYPE_CHECKING:
    from foveal_runtime.serving.settings import Settings

_COLUMN = 56
"""Where origins begin."""


def toml(settings: Settings) -> str:
    """A line a key and its origin as a comment; keys that have no value are comments as a whole."""
    return "\n".join(_lines(settings)) + "\n"


def _lines(settings: Settings) -> Iterator[str]:
    table = ""
    for key, setting in settings.by_key.items():
        name = key.rpartition(".")[2]
        if key.rpartition(".")[0] != table:
            table = key.rpartition(".")[0]
            yield f"\n[{table}]"
        value = shown(key, setting.value)
        line = f"# {name} is not set" if value is None else f"{name} = {_literal(value)}"
        yield f"{line:<{_COLUMN}}# {setting.origin}"


def document(settings: Settings) -> dict[str, Any]:
    """Value and origin by key."""
    return {key: {"value": shown(key, each.value), "origin": each.origin} for key, each in settings.by_key.items()}


def shown(key: str, value: Any) -> Any:
    """A value as it may be printed: the archive's location without its user and password, and so are its standbys'."""
    if key == "store" and value:
        return printable(value)
    if key == "store_replicas":
        return [printable(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(list(value)) if isinstance(value, (tuple, list, frozenset)) else repr(value)
