"""A mapping file (`--columns map.toml`): what a table's own columns and words mean. Reads no table.

encoding = "cp1252"         # when the table is not UTF-8
dates = "day-first"         # or "month-first", when 03/04/2024 occurs

[columns]                   # the table's column = the reader's; "" leaves it out
"Grau final" = "icdr"
"Qualidade" = ""

[values.icdr]               # by either name of the column: a word = what it means; "" is missing
"R2" = 2
[values.eye]
"1" = "right"
"""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal_runtime.errors import DataError
from foveal_runtime.study.synonyms import fold, fold_header

DATES = ("", "day-first", "month-first")
_KEYS = ("encoding", "dates", "columns", "values")


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMap:
    """What a mapping file says; the empty one says nothing."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Folded name of the table's column to the reader's column; "" leaves the column out."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Folded name of the column, the table's or the reader's, to folded words and what stands in their place."""
    dates: str = ""
    """What 03/04/2024 means: "" refuses it, `day-first`, `month-first`."""
    encoding: str = "utf-8"

    def target(self, header: str) -> str:
        """What the reader calls the table's column."""
        return self.columns.get(fold_header(header), header)

    def value(self, column: str, cell: str) -> str:
        """The cell, or what the file puts in its place."""
        words = self.values.get(fold_header(column))
        return cell if words is None else words.get(fold(cell), cell)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How a data set's table is read."""

    columns: ColumnMap = ColumnMap()
    own_patients: bool = False
    """A row without a patient is a patient of its own, and listed; by default it is refused."""


def read_map(path: Path) -> ColumnMap:
    """Read a mapping file.

    Raises:
        DataError: unreadable, no TOML, or a key or value that means nothing.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"mapping file {path} can't be read ({error.strerror}); check the path") from None
    except ValueError as error:
        where = str(error).rpartition("(at ")[2].rstrip(")") if "(at " in str(error) else "its text"
        raise DataError(f"mapping file {path} is no TOML in UTF-8; look at {where}") from None
    if unknown := sorted(set(document) - set(_KEYS)):
        raise DataError(f"mapping file {path} has {unknown[0]!r}, which means nothing; known are {', '.join(_KEYS)}")
    if document.get("dates", "") not in DATES:
        raise DataError(f"mapping file {path}: dates is none of {', '.join(DATES[1:])}")
    encoding = document.get("encoding", "utf-8")
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError):
        raise DataError(f"mapping file {path}: encoding names none that is known, for example cp1252") from None
    columns = _words(path, "columns", document.get("columns", {}))
    values = document.get("values", {})
    if not isinstance(values, dict):
        raise DataError(f"mapping file {path}: values is no table; write [values.COLUMN]")
    return ColumnMap(
        columns={fold_header(name): target for name, target in columns.items()},
        values={
            fold_header(name): {fold(word): value for word, value in _words(path, f"values.{name}", words).items()}
            for name, words in values.items()
        },
        dates=document.get("dates", ""),
        encoding=encoding,
    )


def _words(path: Path, name: str, table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(v, str | int | float) for v in table.values()):
        raise DataError(f"mapping file {path}: [{name}] holds something else than WORD = TEXT or NUMBER")
    return {key: str(value) for key, value in table.items()}
