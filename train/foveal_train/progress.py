"""What a person sees while a run trains: stages, bars and losses, on stderr. Measures nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressReporter:
    """A `pipeline.Reporter` that draws rich progress bars on stderr; use it as a context manager."""

    def __init__(self, epochs: int, *, quiet: bool = False) -> None:
        """Args:
        epochs: of the recipe, for the length of the training bar.
        quiet: draw nothing.
        """
        self._epochs = epochs
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=quiet,
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

    def progress(self, done: int, total: int) -> None:
        """Move the current bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        """Move the training bar and show the epoch's mean losses."""
        if self._task is None:
            return
        shown = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        self._bars.update(
            self._task,
            completed=(epoch - 1) * steps + step,
            total=self._epochs * steps,
            note=f"epoch {epoch}/{self._epochs}  {shown}",
        )

    def epoch(self, row: dict[str, Any]) -> None:
        """Nothing: the bar shows the running means already."""
