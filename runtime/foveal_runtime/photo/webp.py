"""The chunks of a WebP: their number, and what decoding takes. Decodes nothing."""

from __future__ import annotations

import struct

from foveal_runtime.photo.walk import Structure, refuse_beyond

MAX_CHUNKS = 1024
_CANVAS_BYTES = 24
"""Of one pixel: libwebp's animation decoder, which Pillow uses for every file, keeps two canvases, and hands out copies.
22 were measured with noise of 9 megapixels (docs/decisions.md)."""
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANMF"})


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None where the file does not tell."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def walk_webp(data: bytes) -> Structure:
    """Its cost and its content.

    Raises:
        ImageError: more chunks than a photograph has.
    """
    content: list[slice] = []
    place, chunks, frames = 12, 0, 0
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while place + 8 <= end:
        chunks += 1
        refuse_beyond(MAX_CHUNKS, chunks, "chunks")
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        frames += name == b"ANMF"
        if name in _PIXELS:
            content.append(slice(place + 8, place + 8 + length))
        place += 8 + length + (length & 1)
    try:
        width, height = webp_size(data) or (0, 0)
    except struct.error:
        width = height = 0
    return Structure(decoded_bytes=width * height * _CANVAS_BYTES, content=tuple(content), pages=max(1, frames))
