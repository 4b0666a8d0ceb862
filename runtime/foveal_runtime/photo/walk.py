"""What a walk through a file's structure finds, how it refuses, and how strips of a picture are taken. Knows no format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foveal_runtime.errors import ImageError

_STRIP_PIXELS = 1 << 20
"""Arrays of eight bytes a sample, which NumPy makes of whatever looks a table up, are a few dozen megabytes then."""
RGB_BYTES = 4
"""Of one pixel in memory: Pillow pads three channels to four, and keeps colour with alpha or in four inks as wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """A file as its structure describes it; nothing of it is decoded."""

    decoded_bytes: int
    """The most that its pixels take at once, from decoding to RGB: the decoded format and what lies between."""
    content: tuple[slice, ...]
    """The bytes that pixels are made of, in order: without text, metadata, and what follows the end of the picture."""
    is_of_jpegs: bool = False
    """Each part of the content is a JPEG of its own."""
    pages: int = 1
    """Pictures in the file, thumbnails not counted, as far as the structure tells."""


def refuse_beyond(most: int, found: int, what: str, fix: str = "save it again, without them") -> None:
    """Refuse a file that has more of something than a photograph has.

    Raises:
        ImageError: `found` is more than `most`.
    """
    if found > most:
        raise ImageError(f"image has more than {most} {what}; {fix}")


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture, some at a time, so that what lies between two formats stays small."""
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
