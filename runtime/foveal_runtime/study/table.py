"""A CSV as rows with line numbers and named columns, every quirk of spelling left to the reader. Knows no data set."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A header and its rows; cells are stripped, a cell beyond a short row is ""."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    """Line number (the header is line 1) and cells by column."""


def read_table(path: Path) -> Table:
    """Read a CSV; unnamed columns and wholly empty lines are left out.

    Raises:
        DataError: unreadable, not UTF-8 text, without a header, or with the same column twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            # Spreadsheets in countries with a decimal comma save "CSV" with semicolons.
            delimiter = max(",;\t", key=first.count)
            lines = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(lines, [])]
            named = [(i, name) for i, name in enumerate(header) if name]
            rows = []
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    values = {name: cells[i].strip() if i < len(cells) else "" for i, name in named}
                    rows.append((lines.line_num, values))
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV in UTF-8 ({type(error).__name__}); save it as CSV, UTF-8") from None
    names = [name for _, name in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names:
        raise DataError(f"{path} has no header; its first line must name the columns")
    if twice:
        raise DataError(f"{path} names the column {twice[0]!r} twice; keep one")
    return Table(path=path, columns=tuple(names), rows=tuple(rows))


def require_columns(table: Table, wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Canonical name to the column that carries it, spelling compared without case.

    Args:
        table: the CSV.
        wanted: canonical name to accepted spellings, the canonical one included or not.

    Raises:
        DataError: naming every column that is missing.
    """
    by_fold = {name.casefold(): name for name in table.columns}
    found: dict[str, str] = {}
    missing = []
    for name, spellings in wanted.items():
        column = next((by_fold[s.casefold()] for s in (name, *spellings) if s.casefold() in by_fold), None)
        if column is None:
            missing.append(name)
        else:
            found[name] = column
    if missing:
        raise DataError(
            f"{table.path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            "it may be another release or another file: docs/datasets.md lists the columns"
        )
    return found
