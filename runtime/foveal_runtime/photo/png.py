"""The chunks of a PNG: their number, and what unpacking and decoding them takes. Decodes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from foveal_runtime.photo.tiff import is_turned
from foveal_runtime.photo.walk import RGB_BYTES, Structure, refuse_beyond

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_DATA_CHUNKS = 10_000
"""Encoders write 8 kB or more a chunk; a message holds 64 MB."""
MAX_OTHER_CHUNKS = 512
MAX_PACKED_CHUNKS = 64
"""Compressed texts and colour profiles, each of which Pillow unpacks to a megabyte at most."""

_HEAD = struct.Struct(">I4s").unpack_from
_PACKED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
"""Chunks that pixels are made of."""
_PICTURE_BYTES = {(0, False): 1, (0, True): 2, (3, False): 1}
"""Of one pixel as Pillow keeps it, by colour type and whether it has 16 bits; all others take four."""


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and bytes of content of every chunk up to the end of the picture; the last may be cut short."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, name = _HEAD(data, place)
        yield name, place, length
        if name == b"IEND":
            return
        place += 12 + length


def walk_png(data: bytes) -> Structure:
    """Its cost and its content.

    Raises:
        ImageError: more chunks than a photograph has.
    """
    idat = other = packed = 0
    content: list[slice] = []
    turned = False
    for name, place, length in chunks(data):
        if name == b"IDAT":
            idat += 1
            refuse_beyond(MAX_DATA_CHUNKS, idat, "chunks of pixels", "save it again, in fewer")
        else:
            other += 1
            packed += name in _PACKED
            refuse_beyond(MAX_OTHER_CHUNKS, other, "chunks beside its pixels")
            refuse_beyond(MAX_PACKED_CHUNKS, packed, "compressed texts and profiles")
        if name in PIXELS:
            content.append(slice(place + 8, place + 8 + length))
        turned |= name in (b"eXIf", b"iTXt") and is_turned(data[place + 8 : place + 8 + min(length, 65_536)])
    return Structure(decoded_bytes=_decoded_bytes(data, turned), content=tuple(content))


def _decoded_bytes(data: bytes, turned: bool) -> int:
    try:
        width, height, depth, kind = struct.unpack_from(">IIBB", data, len(SIGNATURE) + 8)
    except struct.error:
        return 0
    picture = _PICTURE_BYTES.get((kind, depth == 16), RGB_BYTES)
    copies = (kind != 2) + turned  # to RGB, and upright
    return int(width * height * (picture + copies * RGB_BYTES))
