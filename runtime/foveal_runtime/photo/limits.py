"""What is refused of a photograph before it is decoded. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.walk import Structure


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded."""

    max_pixels: int = 100_000_000
    """Width times height from the file's header; a guard against decompression bombs."""
    max_decoded_bytes: int = 1 << 30
    """What decoding may take at once, of one photograph and of all that a process decodes side by side."""
    min_side_px: int = 32
    """A photograph smaller than this in either direction can't be graded."""

    def check(self, width: int, height: int) -> None:
        """Refuse a photograph by its size.

        Raises:
            ImageError: too small, or too many pixels.
        """
        if min(width, height) < self.min_side_px:
            raise ImageError(f"image is {width} x {height} px, at least {self.min_side_px} px a side are needed")
        if width * height > self.max_pixels:
            raise ImageError(f"image is {width} x {height} px, over the limit of {self.max_pixels} pixels; send it scaled down")

    def check_decoded(self, structure: Structure) -> None:
        """Refuse a photograph by what its format takes when it is decoded.

        Raises:
            ImageError: more than `max_decoded_bytes`.
        """
        if structure.decoded_bytes > self.max_decoded_bytes:
            raise ImageError(
                f"image takes {structure.decoded_bytes >> 20} MB to decode, over the limit of {self.max_decoded_bytes >> 20} "
                f"MB; send it scaled down, or as 8-bit RGB"
            )
