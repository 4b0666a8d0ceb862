"""Cells of clinical tables to values: grades, yes/no, numbers as people type them. One cell at a time, no tables."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from datetime import date
from typing import TypeVar

from foveal_runtime.study.study import MAX_AGE_YEARS

T = TypeVar("T")

_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "?", "-"})
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>|y|yrs?|years?|a|anos?|m|months?|mes|mês|meses)\.?")
_MONTHS = frozenset({"m", "month", "months", "mes", "mês", "meses"})

YES_NO: Mapping[str, bool] = {
    "yes": True, "y": True, "true": True, "1": True, "1.0": True, "sim": True,
    "no": False, "n": False, "false": False, "0": False, "0.0": False, "não": False, "nao": False,
}  # fmt: skip
"""Words for a flag, English and Portuguese, lower case."""


class BadCode(ValueError):
    """A cell that means nothing known; whoever reads the table adds the row."""


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


def flag(name: str, cell: str) -> bool | None:
    """Yes or no in any of the words of `YES_NO`; a missing cell is None.

    Raises:
        BadCode: another word.
    """
    return word_code(name, cell, YES_NO)


def years(name: str, cell: str) -> float | None:
    """Years as typed: decimal commas, the letter O for zero, `5 anos` and `6 months` are read; a missing cell is None.

    Raises:
        BadCode: no number, or outside 0 to 125.
    """
    if is_missing(cell):
        return None
    text = cell.strip().replace(",", ".")
    # The letter O is a zero where it touches a digit or separator, never in a word.
    text = re.sub(r"(?<![a-z])o(?![a-z])", "0", text.casefold())
    match = _NUMBER.fullmatch(text)
    value = float(match[1]) / (12 if match["unit"] in _MONTHS else 1) if match else math.nan
    if not (math.isfinite(value) and 0 <= value <= MAX_AGE_YEARS):
        # The value is the patient's: the message names the column alone.
        raise BadCode(f"{name} is no number of years from 0 to {MAX_AGE_YEARS:g}")
    return value


def iso_date(name: str, cell: str) -> date | None:
    """A date of the form YYYY-MM-DD: 03/04/2024 is two different days; a missing cell is None.

    Raises:
        BadCode: another form.
    """
    if is_missing(cell):
        return None
    try:
        return date.fromisoformat(cell.strip())
    except ValueError:
        raise BadCode(f"{name} is no date of the form YYYY-MM-DD") from None


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 20 else cell[:20] + "…")
