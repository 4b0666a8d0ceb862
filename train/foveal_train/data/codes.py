"""Cells of clinical tables to values: grades, yes/no, numbers as people type them. One cell at a time, no tables."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import TypeVar

from foveal_runtime.study import MAX_AGE_YEARS

T = TypeVar("T")

_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "?", "-"})


class BadCode(ValueError):
    """A cell that means nothing known; becomes a `Problem` with its row."""


def is_missing(cell: str) -> bool:
    """True for an empty cell and the usual words for one."""
    return cell.strip().casefold() in _MISSING


def integer_code(name: str, cell: str, allowed: Container[int]) -> int | None:
    """A code such as a grade; `3` and `3.0` are both 3, a missing cell is None.

    Raises:
        BadCode: not one of `allowed`.
    """
    if is_missing(cell):
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not value.is_integer() or int(value) not in allowed:
        raise BadCode(f"{name} has the unknown code {_short(cell)}")
    return int(value)


def word_code(name: str, cell: str, words: Mapping[str, T]) -> T | None:
    """A code that is a word, compared without case; a missing cell is None.

    Raises:
        BadCode: not one of `words`.
    """
    if is_missing(cell):
        return None
    try:
        return words[cell.strip().casefold()]
    except KeyError:
        raise BadCode(f"{name} has the unknown code {_short(cell)}") from None


def years(name: str, cell: str) -> float | None:
    """Years as typed: decimal commas and the letter O for zero are read; a missing cell is None.

    Raises:
        BadCode: no number, or outside 0 to 125.
    """
    if is_missing(cell):
        return None
    try:
        value = float(cell.strip().replace(",", ".").replace("O", "0").replace("o", "0"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0 <= value <= MAX_AGE_YEARS):
        # The value is the patient's: the message names the column alone.
        raise BadCode(f"{name} is no number of years from 0 to {MAX_AGE_YEARS:g}")
    return value


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 20 else cell[:20] + "…")
