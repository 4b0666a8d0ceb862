"""What a person sees while a run trains: stages, bars and losses, on stderr. Measures nothing."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressReporter:
    """A `runs.reporter.Reporter` that draws rich progress bars on stderr; use it as a context manager.

    Where stderr is no terminal (a file, a service's log) a line a stage and a line an epoch take the bars' place.
    """

    def __init__(self, epochs: int, *, quiet: bool = False) -> None:
        """Args:
        epochs: of the recipe, for the length of the training bar.
        quiet: draw nothing.
        """
        self._epochs = epochs
        console = Console(stderr=True)
        self._lines = None if quiet or console.is_terminal else console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=quiet or self._lines is not None,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressReporter:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        self._bars.stop()

    def _finish(self) -> None:
        if self._task is not None:
            task = self._bars.tasks[self._task]
            self._bars.update(self._task, total=task.total or 1, completed=task.total or 1)

    def stage(self, name: str) -> None:
        """Finish the current bar and start the next one."""
        self._finish()
        self._task = self._bars.add_task(name, total=None, note="")
        self._line(name)

    def progress(self, done: int, total: int) -> None:
        """Move the current bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        """Move the training bar and show the epoch's mean losses."""
        if self._task is None:
            return
        self._bars.update(
            self._task,
            completed=(epoch - 1) * steps + step,
            total=self._epochs * steps,
            note=f"epoch {epoch}/{self._epochs}  {_losses_text(losses)}",
        )

    def epoch(self, row: dict[str, Any]) -> None:
        """A line where there are no bars; they show the running means already."""
        validation = f"  validation {row['validation']['loss']:.3f}" if "validation" in row else ""
        self._line(f"epoch {row['epoch']}/{self._epochs}  {_losses_text(row['train'])}{validation}")

    def remark(self, text: str) -> None:
        """A line, above the bars where there are any."""
        if self._lines is not None:
            self._line(text)
        else:
            self._bars.print(text, soft_wrap=True, highlight=False, markup=False)

    def _line(self, text: str) -> None:
        if self._lines is not None:
            self._lines.print(f"{datetime.now():%H:%M:%S} {text}", soft_wrap=True, highlight=False, markup=False)


def _losses_text(losses: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
