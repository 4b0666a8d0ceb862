"""Where two nested documents differ, key by key. Knows no run and no recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def unequal(one: Mapping[str, Any], other: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values of what differs, in the order of `one`, then of what `other` alone has; None where absent.

    Args:
        one: the first document.
        other: the second.
        where: put before every key.
    """
    for key in (*one, *(key for key in other if key not in one)):
        here, there = one.get(key), other.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from unequal(here, there, f"{where}{key}.")
        elif here != there:
            yield f"{where}{key}", here, there
