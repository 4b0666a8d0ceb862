"""A PNG file without what browsers ignore: text, colour profiles and damaged extras never decide whether it is read.

Pillow parses every chunk and refuses the file over a checksum of a comment. Browsers read the chunks that make pixels, and drop
others that are damaged (PNG 1.2, section 10.1: decoders may skip ancillary chunks). Colour profiles are not applied, as before.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_OF_USE = frozenset({b"eXIf", b"acTL", b"fcTL"})
"""Kept where their checksum is right: the orientation, and whether there are several frames."""
_LONGEST_EXTRA = 1 << 20
"""Bytes of an extra chunk that are looked at."""


def plain_png(data: bytes) -> bytes:
    """The file with the chunks that matter; the very same where it is no PNG, or its chunks can't be followed."""
    if not data.startswith(SIGNATURE):
        return data
    kept, place = [SIGNATURE], len(SIGNATURE)
    dropped = False
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break  # cut short: the decoder says so
        if kind in _PIXELS or (kind in _OF_USE and _is_intact(data, place, length)):
            kept.append(data[place:end])
        else:
            dropped = True
        place = end
        if kind == b"IEND":
            break
    if not dropped:
        return data
    return b"".join((*kept, data[place:]))


def _is_intact(data: bytes, place: int, length: int) -> bool:
    if length > _LONGEST_EXTRA:
        return False
    written = data[place + 8 + length : place + 12 + length]
    return written == struct.pack(">I", zlib.crc32(data[place + 4 : place + 8 + length]))
