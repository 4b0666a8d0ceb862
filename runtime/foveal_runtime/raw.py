"""Raw RGB pixels to an uncompressed TIFF file, so that one decoder serves every photograph. Resizes nothing."""

from __future__ import annotations

import struct

import numpy as np

from foveal_runtime.errors import ImageError

_ITEM_BYTES = {"uint8": 1, "uint16": 2, "float32": 4}
MAX_SIDE_PX = 65_535


def raw_to_tiff(pixels: bytes, width: int, height: int, sample_type: str) -> bytes:
    """An uncompressed 8-bit RGB TIFF with these pixels.

    Args:
        pixels: height * width * 3 samples, row by row, little-endian.
        width: in pixels.
        height: in pixels.
        sample_type: `uint8`, `uint16` (0 to 65535) or `float32` (0 to 1).

    Raises:
        ImageError: wrong dimensions or length, or samples that are not finite or outside their range.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise ImageError(f"raw image is {width} x {height} px; 1 to {MAX_SIDE_PX} a side can be", field="image.raw")
    expected = width * height * 3 * _ITEM_BYTES[sample_type]
    if len(pixels) != expected:
        raise ImageError(
            f"raw image of {width} x {height} {sample_type} RGB pixels needs {expected} bytes, got {len(pixels)}",
            field="image.raw.pixels",
        )
    if sample_type == "uint16":
        pixels = np.round(np.frombuffer(pixels, "<u2") / 257.0).astype(np.uint8).tobytes()
    elif sample_type == "float32":
        samples = np.frombuffer(pixels, "<f4")
        if not np.isfinite(samples).all():
            raise ImageError("raw image has samples that are NaN or infinite; send 0.0 to 1.0", field="image.raw.pixels")
        if samples.min() < 0.0 or samples.max() > 1.0:
            raise ImageError("raw image has samples outside 0.0 to 1.0; scale them", field="image.raw.pixels")
        pixels = np.round(samples * 255.0).astype(np.uint8).tobytes()
    return _tiff_header(width, height, len(pixels)) + pixels


def _tiff_header(width: int, height: int, size: int) -> bytes:
    """Baseline TIFF 6.0, little-endian, one strip."""
    short, long = 3, 4
    entries = (
        (256, long, 1, width), (257, long, 1, height), (258, short, 3, 0), (259, short, 1, 1), (262, short, 1, 2),
        (273, long, 1, 0), (277, short, 1, 3), (278, long, 1, height), (279, long, 1, size),
    )  # fmt: skip
    bits_at = 8 + 2 + 12 * len(entries) + 4
    fixed = {258: bits_at, 273: bits_at + 6}
    body = b"".join(struct.pack("<HHII", tag, kind, count, fixed.get(tag, value)) for tag, kind, count, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + struct.pack("<HHH", 8, 8, 8)
