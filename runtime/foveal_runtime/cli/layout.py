"""How wide the screen is, and text made to fit it: long names lose their middle, long lines are wrapped. Prints nothing."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

_COLUMN = re.compile(r" {2,}(?=\S)")
_LEAST = 40
"""Columns below which nothing is made to fit: words would be cut, not wrapped."""


def width() -> int:
    """Columns of the terminal on stdout (COLUMNS wins); 0 where stdout is none: a pipe or a file gets whole lines."""
    return max(_LEAST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else 0


def shortened(text: str, columns: int) -> str:
    """At most `columns` characters: a longer name loses its middle. A path keeps its last part where that fits."""
    if len(text) <= columns:
        return text
    last = len(text) - max(text.rfind("/"), 0)
    tail = last if last <= columns - 2 else (columns - 1) * 2 // 3
    return f"{text[: columns - 1 - tail]}…{text[len(text) - tail :]}"


def decimals(value: float | None) -> str:
    """A figure with three decimals; a dash for none."""
    return "-" if value is None else f"{value:.3f}"


def wrapped(line: str, columns: int, *, indent: int) -> str:
    """A line in `columns`, what follows below it moved in by `indent`; the line itself where columns are 0 or it fits.

    Words are never cut: a hash or a path can be copied.
    """
    if not columns or len(line) <= columns:
        return line
    start = len(line) - len(line.lstrip())
    parts = textwrap.wrap(
        line.strip(),
        columns,
        initial_indent=" " * start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    # textwrap squeezes no blanks inside a line, but a column's blanks at the break are dropped, as they should be.
    return "\n".join(parts)


def fitted(text: str, columns: int) -> str:
    """Lines of labels and values in `columns`: what follows stands below the value, which begins after two blanks or more."""
    lines = []
    for line in text.splitlines():
        lead = len(line) - len(line.lstrip())
        start = max((found.end() for found in _COLUMN.finditer(line[: columns // 2])), default=0)
        lines.append(wrapped(line, columns, indent=start if start > lead else lead + 2))
    return "\n".join(lines) + "\n"


def printable(name: object) -> str:
    r"""A file's name as one line that any terminal may get: control characters and bytes that are no text become `\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))
