"""The rows of a dump's text, read as data: blocks of `COPY … FROM stdin` and nothing else. Runs nothing, opens no database.

psql runs what a dump says, programs too (`\\!`, `COPY … TO PROGRAM`), as whoever restores it. So foveal makes the schema itself
and takes rows alone, of tables it knows (docs/decisions.md). A psql command, a program or another table is still refused: no
dump that foveal wrote has any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from foveal_runtime.errors import StoreError

MAX_LINE_BYTES = 16 << 20
"""Of a row; the longest that foveal writes, 4,000 components and the largest attributes, has about 0.2 MB."""
_HEADER = re.compile(rb'COPY foveal\.([a-z0-9_]{1,63}) \(([a-z0-9_", ]{1,2000})\) FROM stdin;')
_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]{1,200}")
"""The meta-commands that pg_dump itself writes, since August 2025 (CVE-2025-8714)."""
_PROGRAM = re.compile(rb"\bPROGRAM\b", re.IGNORECASE)
_COPY = re.compile(rb"\s*COPY\b", re.IGNORECASE)
_COMPLETE = b"-- PostgreSQL database dump complete"
_ENCODING = b"SET client_encoding = "


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one table follow."""

    table: str
    """Without its schema, which is foveal's."""
    columns: tuple[str, ...]
    """In the order of the rows' fields."""


class DumpReader:
    """Splits a dump's text, given piece by piece, into blocks and rows."""

    def __init__(self) -> None:
        self._rest = b""
        self._line = 0
        self._block: Block | None = None
        self._complete = False

    def feed(self, text: bytes) -> list[Block | bytes]:
        """What the next piece of text holds: beginnings of blocks, and whole rows of the block that began last.

        Raises:
            StoreError: it holds a command for psql or a program, or what is no dump of foveal's.
        """
        found: list[Block | bytes] = []
        rows: list[bytes] = []
        *lines, self._rest = (self._rest + text).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise self._refusal("is no row: it has no end")
        for line in lines:
            self._line += 1
            if self._block is None:
                self._block = self._statement(line)
                if self._block is not None:
                    found.append(self._block)
            elif line == b"\\.":
                found.append(b"".join(rows))
                rows, self._block = [], None
            else:
                rows.append(line + b"\n")
        if rows:
            found.append(b"".join(rows))
        return [part for part in found if part]

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            StoreError: the dump ends before its end.
        """
        if self._block is not None or not self._complete:
            raise StoreError(f"the dump ends early, at line {self._line}; copy it again as a whole, or take an older one")

    def _statement(self, line: bytes) -> Block | None:
        """A line outside of rows; the block that it begins, if it does."""
        if b"\\" in line and not _RESTRICT.fullmatch(line):
            raise self._refusal("holds a command for psql (a backslash)")
        if _COPY.match(line) is None:
            if _PROGRAM.search(line):
                raise self._refusal("names a program to run")
            if line.startswith(_ENCODING) and line != _ENCODING + b"'UTF8';":
                raise StoreError("the dump is not in UTF-8; write it again with this foveal's `foveal store dump`")
            self._complete = self._complete or line == _COMPLETE
            return None
        header = _HEADER.fullmatch(line)
        if header is None:
            raise self._refusal("copies from or to something else than a table of foveal's")
        table, columns = header[1].decode(), header[2].decode()
        return Block(table, tuple(name.strip().strip('"') for name in columns.split(",")))

    def _refusal(self, why: str) -> StoreError:
        return StoreError(f"line {self._line} of the dump {why}: `foveal store dump` did not write it; do not trust this file")
