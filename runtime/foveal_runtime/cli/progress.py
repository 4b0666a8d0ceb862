"""How far a command has come, on stderr: a bar where that is a terminal, elsewhere lines or nothing. Does no work."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Progress:
    """`with Progress(120, "indexing") as advance:`, then `advance(1)` for each that is done."""

    def __init__(self, total: int, what: str, *, at_least: int = 1, lines: bool = False) -> None:
        """Args:
        total: how many there are.
        what: is being done with them.
        at_least: fewer than these are not worth a bar.
        lines: where stderr is no terminal, write a line for every tenth.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        terminal = sys.stderr.isatty()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True, disable=not terminal or total < at_least)
        self._task = self._bar.add_task(what, total=total)
        self._lines = lines and not terminal
        self._what, self._total, self._done = what, total, 0

    def __enter__(self) -> Callable[[int], None]:
        self._bar.start()
        return self._advance

    def _advance(self, steps: int) -> None:
        before, self._done = self._done, self._done + steps
        self._bar.advance(self._task, steps)
        if self._lines and 10 * self._done // self._total > 10 * before // self._total:
            sys.stderr.write(f"{self._what}: {self._done} of {self._total} photographs\n")

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()
