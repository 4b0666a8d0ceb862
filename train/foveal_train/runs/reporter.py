"""Who is told how a run gets on. Draws nothing; `training.progress` does."""

from __future__ import annotations

from typing import Any, Protocol


class Reporter(Protocol):
    """Told how a run gets on."""

    def stage(self, name: str) -> None:
        """A new stage begins."""

    def progress(self, done: int, total: int) -> None:
        """The stage's countable work."""

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        """A training step was made; `losses` are the epoch's running means."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch was finished; `row` is its row of the history."""

    def remark(self, text: str) -> None:
        """Something the user should know, and that stops nothing."""


class Silent:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Ignored."""

    def progress(self, done: int, total: int) -> None:
        """Ignored."""

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        """Ignored."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Ignored."""

    def remark(self, text: str) -> None:
        """Ignored."""
