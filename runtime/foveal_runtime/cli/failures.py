"""Files that failed: a line each on stderr, and the exit code that follows. Fails nothing itself."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from foveal_runtime.cli.layout import printable
from foveal_runtime.errors import FovealError, UnavailableError

_LISTED = 3
"""Files named one by one when the server went away; more become one line."""


def report_failures(answers: Iterable[tuple[Path, object]]) -> int:
    """Say what failed; the exit code: 0 for nothing, 2 where a file has to be mended, else 1."""
    failed = [(file, answer) for file, answer in answers if isinstance(answer, FovealError)]
    lost = [(file, error) for file, error in failed if isinstance(error, UnavailableError)]
    many = len(lost) > _LISTED
    for file, error in failed:
        if not (many and isinstance(error, UnavailableError)):
            sys.stderr.write(f"error: {printable(file)}: {error}\n")
    if many:
        first, last = printable(lost[0][0]), printable(lost[-1][0])
        sys.stderr.write(f"error: {len(lost)} files from {first} to {last} have no answer: {lost[0][1]}\n")
    return max((error.exit_code for _, error in failed), default=0)
