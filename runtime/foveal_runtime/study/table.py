"""A CSV as rows with line numbers and named columns; a line that is no row for sure is bad and named. Knows no data set.

Strict where a cell could shift in silence: a row has as many cells as the header, a quote opens at a cell's start and closes at
its end, and a quoted cell that swallows lines which look like rows is bad (RFC 4180 allows line ends in quotes).
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.mapping import ColumnMap
from foveal_runtime.study.problem import Problem
from foveal_runtime.study.synonyms import fold_header

_DELIMITERS = ",;\t|"
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MAX_CELL_LINES = 500
"""A quoted cell with more lines is taken as one that never closes."""
_NO_TEXT = re.compile("[\x00\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A header and its rows; cells are stripped."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    """Line number (the file's first line is line 1) and cells by column."""
    bad: tuple[Problem, ...] = ()
    """Lines that are no rows; nothing of them is repeated."""
    left_out: tuple[str, ...] = ()
    """Columns that the mapping file leaves out."""


class _BadLine(ValueError):
    """What is wrong with a line."""


def read_table(path: Path, mapping: ColumnMap = ColumnMap()) -> Table:  # noqa: B008 - frozen
    """Read a CSV; unnamed columns and wholly empty lines are left out.

    Args:
        path: text in UTF-8, in UTF-16 with its mark, or in what the mapping names; separated by `,` `;` tab or `|`.
        mapping: renames columns and replaces words.

    Raises:
        DataError: unreadable, without a header, with the same column twice, or a mapping that names no column of it.
    """
    lines = _text(path, mapping.encoding)
    skip, delimiter = _separator(lines)
    header, first = _header(path, lines, skip, delimiter)
    names, left_out = _names(path, header, mapping)
    last = max(i for i, name in enumerate(header) if name)
    width = _width(lines[first:], delimiter, len(header), last + 1)
    rows: list[tuple[int, Mapping[str, str]]] = []
    bad: list[Problem] = []
    shapes = _shapes(lines[first:], delimiter, width)
    at = first
    while at < len(lines):
        start = at
        try:
            cells, at = _record(lines, at, delimiter)
            if not any(cell.strip() for cell in cells):
                continue
            _check(cells, lines[start:at], width, last, delimiter, shapes)
        except _BadLine as error:
            at = start + 1
            bad += _cut(lines[start], start, delimiter, rows, shapes)
            bad.append(Problem(row=start + 1, id="", what=str(error)))
            continue
        rows.append((start + 1, {name: mapping.value(name, cells[i].strip()) for i, name in names.items()}))
    return Table(
        path=path,
        columns=tuple(names.values()),
        rows=tuple(rows),
        bad=tuple(sorted(bad, key=lambda p: p.row)),
        left_out=left_out,
    )


def _text(path: Path, encoding: str) -> list[str]:
    """The lines of a file; bytes that are no text in its encoding stay as surrogates, for their line to be named."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); check the path") from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16") if wide else data.decode(encoding, "surrogateescape")
    except (UnicodeError, LookupError):
        raise DataError(f"{path} is no CSV in UTF-8 or UTF-16; save it as CSV, UTF-8") from None
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _separator(lines: list[str]) -> tuple[int, str]:
    """Lines before the header, and the delimiter: Excel's `sep=;`, else what the header has most of outside quotes."""
    if match := re.fullmatch(r"\"?sep=(.)\"?[,;\t]*", lines[0].strip(" "), re.IGNORECASE):
        return 1, match[1]
    bare = re.sub(r'"[^"]*"', "", lines[0])
    # Spreadsheets in countries with a decimal comma save "CSV" with semicolons.
    return 0, max(_DELIMITERS, key=bare.count)


def _header(path: Path, lines: list[str], skip: int, delimiter: str) -> tuple[list[str], int]:
    if skip >= len(lines) or not lines[skip].strip():
        raise DataError(f"{path} has no header; its first line must name the columns")
    try:
        header, first = _record(lines, skip, delimiter)
    except _BadLine as error:
        raise DataError(f"{path} is no CSV in UTF-8: its header {error}; save it as CSV, UTF-8") from None
    return [name.strip() for name in header], first


def _names(path: Path, header: list[str], mapping: ColumnMap) -> tuple[dict[int, str], tuple[str, ...]]:
    """Place to the reader's name of every column that is read, and the columns that the mapping leaves out."""
    if missing := sorted(set(mapping.columns) - {fold_header(name) for name in header}):
        raise DataError(f"{path} has no column {missing[0]!r} that the mapping file names; its columns are in its first line")
    targets = {i: mapping.target(name) for i, name in enumerate(header) if name}
    names = {i: name for i, name in targets.items() if name}
    if not names:
        raise DataError(f"{path} has no header; its first line must name the columns")
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise DataError(f"{path} names the column {twice[0]!r} twice; keep one")
    return names, tuple(header[i] for i, name in targets.items() if not name)


def _width(lines: list[str], delimiter: str, full: int, named: int) -> int:
    """Cells of a row: the header's, or up to the last named column where most rows stop there (IDRiD has both)."""
    counts = Counter(line.count(delimiter) + 1 for line in lines if line.strip() and '"' not in line)
    return named if counts[named] > counts[full] else full


def _shape(cell: str) -> str:
    """A cell with digits and letters made equal: `0002.jpg` is `9.a`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", cell.strip()))


def _shapes(lines: list[str], delimiter: str, width: int) -> frozenset[str]:
    """What first cells look like in this table."""
    rows = (line.split(delimiter) for line in lines)
    return frozenset(_shape(cells[0].strip(' "')) for cells in rows if len(cells) >= width and cells[0].strip())


def _record(lines: list[str], at: int, delimiter: str) -> tuple[list[str], int]:
    """The cells of the record that begins in line `at`, and the line after it."""
    line = lines[at]
    if _NO_TEXT.search(line):
        raise _BadLine("holds bytes that are no text in the file's encoding; save it as CSV, UTF-8, or name the encoding")
    if '"' not in line:
        return line.split(delimiter), at + 1
    cells: list[str] = []
    pos = 0
    while True:
        quoted = re.compile(' *"').match(line, pos)
        if quoted is None:
            end = line.find(delimiter, pos)
            cell = line[pos:] if end < 0 else line[pos:end]
            if '"' in cell:
                raise _BadLine("has a quote inside a cell that is not quoted; double it, and quote the cell")
            cells.append(cell)
            if end < 0:
                return cells, at + 1
            pos = end + 1
            continue
        cell, at, pos = _quoted(lines, at, quoted.end())
        line = lines[at]
        cells.append(cell)
        rest = line[pos:].lstrip(" ")
        if not rest:
            return cells, at + 1
        if not rest.startswith(delimiter):
            raise _BadLine("has text after a closing quote: a quote before is not closed, or not doubled")
        pos = len(line) - len(rest) + 1


def _quoted(lines: list[str], at: int, pos: int) -> tuple[str, int, int]:
    """The cell whose opening quote stands before `pos`; the line and place after its closing one."""
    parts: list[str] = []
    start = at
    while True:
        line = lines[at]
        if at > start and _NO_TEXT.search(line):
            raise _BadLine("has a quoted cell with bytes that are no text in the file's encoding")
        end = line.find('"', pos)
        if end < 0:
            parts.append(line[pos:] + "\n")
            at, pos = at + 1, 0
            if at >= len(lines) or at - start > _MAX_CELL_LINES:
                raise _BadLine("has a quote that is never closed")
        elif line[end + 1 : end + 2] == '"':
            parts.append(line[pos : end + 1])
            pos = end + 2
        else:
            parts.append(line[pos:end])
            return "".join(parts), at, end + 1


def _check(cells: list[str], lines: list[str], width: int, last: int, delimiter: str, shapes: frozenset[str]) -> None:
    """Raises:
    _BadLine: cells too many or too few, or lines in quotes that look like rows.
    """
    name = _NAMES.get(delimiter, "separator")
    if len(cells) > width or any(cell.strip() for cell in cells[last + 1 :]):
        raise _BadLine(f"has more cells than the header names: an unquoted {name}, perhaps a decimal one, shifts the rest")
    if len(cells) < width:
        raise _BadLine(f"has {len(cells)} cells where {width} are needed: a {name} is missing, or the line is cut")
    own = _shape(cells[0])
    for line in lines[1:]:
        found = line.split(delimiter)
        if len(found) > max(1, width // 2) and _shape(found[0].strip(' "')) in {own, *shapes}:
            raise _BadLine("has a quote that closes in a later row, or lines in quotes that look like rows")


def _cut(
    line: str, at: int, delimiter: str, rows: list[tuple[int, Mapping[str, str]]], shapes: frozenset[str]
) -> list[Problem]:
    """The row before a line that begins like none: its last cell goes on in that line, so it is taken back."""
    if not rows or rows[-1][0] != at or not line.strip() or _shape(line.split(delimiter)[0]) in shapes:
        return []
    row, _ = rows.pop()
    return [Problem(row=row, id="", what="is followed by a line that is no row: its last cell may be cut")]


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
