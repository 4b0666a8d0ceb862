"""Names of a collection's tables. No SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tables:
    """Qualified names of a collection's tables."""

    entries: str
    vectors: dict[str, str]
    """By kind."""

    @property
    def all(self) -> tuple[str, ...]:
        """The entries first: their rows are locked first."""
        return (self.entries, *self.vectors.values())
