"""The files of a trail: one a segment, named by its first record's number. Reads lines, checks no chain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import InputError

LOCK = "writer.lock"
_NAME = re.compile(r"([0-9]{12})\.jsonl")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a trail."""

    path: Path
    first: int
    """Number of its first record."""

    def lines(self) -> Iterator[bytes]:
        """Each line with its newline; the last one may have none."""
        with self.path.open("rb") as file:
            yield from file


def segment_path(folder: Path, first: int) -> Path:
    """Where the segment that begins with this record lies."""
    return folder / f"{first:012d}.jsonl"


def segments(folder: Path) -> list[Segment]:
    """A trail's segments in their order, the empty ones that a crash left out.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that `foveal serve --audit` writes")
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(
        (Segment(path, int(match[1])) for match, path in found if path.stat().st_size), key=lambda segment: segment.first
    )
