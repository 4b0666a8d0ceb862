"""A row that can't be used: where it stands and why, and many of them in few lines. Finds none itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ROWS_LISTED = 8
_CODES_LISTED = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A row that is no sample. Never holds patient values beyond the photograph's name and the code at fault."""

    row: int
    """Line of the table, the file's first line being line 1; 0 where there is no table."""
    id: str
    """Name of the photograph; "" where the row does not tell it for sure."""
    what: str
    column: str = ""
    """Of an unknown code: the column that it stands in; `code` and `accepted` go with it."""
    code: str = ""
    """As it may be shown: a long text or a number that may be an age is described, not repeated."""
    accepted: str = ""
    """What the column may hold."""

    def __str__(self) -> str:
        where = f"row {self.row}" if self.row else "file"
        told = f"{self.what}; accepted: {self.accepted}" if self.accepted else self.what
        return f"{where} ({self.id}): {told}" if self.id else f"{where}: {told}"


def grouped(problems: Sequence[Problem]) -> list[str]:
    """One line a column with unknown codes, one a reason that several rows share, one a row for the rest."""
    by_kind: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(("column", problem.column) if problem.column else ("what", problem.what), []).append(problem)
    return [_line(group) for group in by_kind.values()]


def _line(group: list[Problem]) -> str:
    first = group[0]
    if len(group) == 1:
        return str(first)
    if not first.column:
        return f"{_rows(group)}: {first.what}"
    by_code: dict[str, list[Problem]] = {}
    for problem in group:
        by_code.setdefault(problem.code, []).append(problem)
    codes = [f"{code} ({_rows(several)})" for code, several in by_code.items()]
    more = f" and {len(codes) - _CODES_LISTED} more" if len(codes) > _CODES_LISTED else ""
    unknown = "the unknown code" if len(codes) == 1 else "unknown codes"
    return f"{first.column} has {unknown} {', '.join(codes[:_CODES_LISTED])}{more}; accepted: {first.accepted}"


def _rows(group: list[Problem]) -> str:
    """Rows by line, or by name where there are no lines."""
    names = [_place(problem) for problem in group]
    if len(names) == 1:
        return f"row {names[0]}"
    return f"rows {row_list(names)}"


def _place(problem: Problem) -> str:
    return f"{problem.row} ({problem.id})" if problem.id else str(problem.row)


def row_list(rows: Iterable[object]) -> str:
    """`2, 3, 9`, or the first few and how many there are."""
    names = [str(row) for row in rows]
    listed = ", ".join(names[:_ROWS_LISTED])
    return listed if len(names) <= _ROWS_LISTED else f"{listed}, ... ({len(names)} rows)"
