"""Cells of clinical tables to values: grades, yes/no, numbers as people type them. One cell at a time, no tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TypeVar

from foveal_runtime.study.problem import Problem
from foveal_runtime.study.study import MAX_AGE_YEARS
from foveal_runtime.study.synonyms import MISSING, MONTHS, YES_NO, fold

T = TypeVar("T")

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>|y|yrs?|years?|a|anos?|m|months?|mes|mês|meses)\.?")
_MONTHS = frozenset({"m", "month", "months", "mes", "mês", "meses"})
_CODE = re.compile(r"(\d+)(?:[.,]0*)?", re.ASCII)
_SHOWN_CHARS = 20
_ACCEPTED_LISTED = 12


class BadCode(ValueError):
    """A cell that means nothing known; whoever reads the table adds the row."""

    def __init__(self, what: str, *, column: str = "", code: str = "", accepted: str = "") -> None:
        super().__init__(what)
        self.column, self.code, self.accepted = column, code, accepted

    def problem(self, row: int, id: str) -> Problem:
        """With the row that it stands in."""
        return Problem(row=row, id=id, what=str(self), column=self.column, code=self.code, accepted=self.accepted)


def is_missing(cell: str) -> bool:
    """True for an empty cell, the usual words for one, and punctuation alone."""
    return fold(cell) in MISSING


def code(name: str, cell: str, words: Mapping[str, T], numbers: Mapping[int, T] | None = None) -> T | None:
    """A code that is a word (folded) or, where `numbers` are given, a number: `3`, `3.0` and `3,0` are 3. Missing is None.

    Raises:
        BadCode: neither.
    """
    if is_missing(cell):
        return None
    found = words.get(fold(cell))
    if found is None and numbers and (match := _CODE.fullmatch(cell.strip())):
        found = numbers.get(int(match[1]))
    if found is None:
        raise _unknown(name, cell, [*map(str, numbers or ()), *words])
    return found


def integer_code(name: str, cell: str, allowed: Iterable[int], words: Mapping[str, int] | None = None) -> int | None:
    """A code such as a grade; a missing cell is None.

    Raises:
        BadCode: neither one of `allowed` nor of `words`.
    """
    if fold(cell) == "none":
        # Of grades, none may be "no retinopathy" as well as "not graded".
        raise BadCode(f"{name} is 'none', which may be grade 0 or no grade; write 0, or leave it empty")
    return code(name, cell, words or {}, {value: value for value in allowed})


def flag(name: str, cell: str) -> bool | None:
    """Yes or no in any of the words of `YES_NO`; a missing cell is None.

    Raises:
        BadCode: another word.
    """
    return code(name, cell, YES_NO)


def _unknown(name: str, cell: str, accepted: list[str]) -> BadCode:
    shown = _short(cell)
    listed = ", ".join(accepted[:_ACCEPTED_LISTED]) + (", ..." if len(accepted) > _ACCEPTED_LISTED else "")
    return BadCode(f"{name} has the unknown code {shown}", column=name, code=shown, accepted=listed)


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


def day(name: str, cell: str, order: str = "") -> date | None:
    """A date: YYYY-MM-DD with any separator or a time behind it, a named month, 25/12/2024. A missing cell is None.

    Args:
        name: the column.
        cell: as typed.
        order: what 03/04/2024 is, `day-first` or `month-first`; by default two different days, so refused.

    Raises:
        BadCode: another form, no such day, or one that can be read two ways.
    """
    if is_missing(cell):
        return None
    parts = fold(re.split(r"[T ]\d{1,2}:\d\d", cell.strip())[0]).split()
    if len(parts) == 1 and re.fullmatch(r"\d{8}", parts[0], re.ASCII):
        parts = [parts[0][:4], parts[0][4:6], parts[0][6:]]
    try:
        year, month, number = _year_first([p for p in parts if p != "de"], order, dotted="." in cell)
        return date(year, month, number)
    except ValueError as error:
        why = str(error) if str(error).startswith("may be") else "is no date of the form YYYY-MM-DD"
        # The value is the patient's: the message names the column alone.
        raise BadCode(f"{name} {why}") from None


def _year_first(parts: list[str], order: str, *, dotted: bool) -> tuple[int, int, int]:
    if len(parts) != 3:
        raise ValueError
    if named := [MONTHS[part] for part in parts if part in MONTHS]:
        numbers = [part for part in parts if part not in MONTHS]
        longest, number = sorted(numbers, key=len, reverse=True)
        return _year(longest), named[0], int(number)
    if len(parts[0]) == 4:
        return _year(parts[0]), int(parts[1]), int(parts[2])
    first, second, year = int(parts[0]), int(parts[1]), _year(parts[2])
    if first > 12 or first == second or dotted or order == "day-first":
        return year, second, first
    if second > 12 or order == "month-first":
        return year, first, second
    raise ValueError('may be two different days; write YYYY-MM-DD, or say dates = "day-first" in a mapping file')


def _year(text: str) -> int:
    if not re.fullmatch(r"(?:19|20)\d\d", text, re.ASCII):
        raise ValueError
    return int(text)


def _short(cell: str) -> str:
    """A code as a message may show it. A number may be an age, a long text a note: those are described, not repeated."""
    if len(cell) > _SHOWN_CHARS or len(cell.split()) > 3:
        return f"of {len(cell)} characters"
    if re.search(r"\d\d", cell):
        return "with a number above 9"
    return repr(cell)
