"""Width and height of a photograph from its first bytes, for admission. Decodes nothing and trusts nothing.

The server's parent process must know how large a photograph is before it lets it queue, and must not run an image library on
hostile bytes to learn it. What this can't tell is left to the worker, which checks again with Pillow.
"""

from __future__ import annotations

import struct

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.jpeg import FRAMES, SCAN, segments
from foveal_runtime.photo.png import SIGNATURE as PNG_SIGNATURE
from foveal_runtime.photo.raw import is_raw, raw_size
from foveal_runtime.photo.tiff import tiff_size
from foveal_runtime.photo.webp import webp_size

_DICOM_HEADER_BYTES = 65_536


def peek_pixels(image_bytes: bytes) -> int | None:
    """Width times height as the header claims; None when the format or the header is not understood."""
    try:
        size = _peek(image_bytes)
    except (struct.error, IndexError, KeyError, ImageError):
        return None
    return None if size is None else size[0] * size[1]


def _peek(data: bytes) -> tuple[int, int] | None:
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if is_raw(data):
        return raw_size(data)
    if data[:8] == PNG_SIGNATURE:
        return struct.unpack_from(">II", data, 16)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp_size(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return tiff_size(data)
    if data[128:132] == b"DICM":
        return _dicom(data)
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    for segment in segments(data):
        if segment.marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, segment.start + 5)
            return width, height
        if segment.marker == SCAN:
            return None
    return None


def _dicom(data: bytes) -> tuple[int, int] | None:
    """Rows and Columns, group 0028, little-endian with or without a value representation."""
    found: list[int] = []
    for element in (b"\x11\0", b"\x10\0"):
        tag = b"\x28\0" + element
        place = data.find(tag + b"US\2\0", 132, _DICOM_HEADER_BYTES)
        if place < 0:
            place = data.find(tag + b"\2\0\0\0", 132, _DICOM_HEADER_BYTES)
        if place < 0:
            return None
        found += struct.unpack_from("<H", data, place + 8)
    return found[0], found[1]
