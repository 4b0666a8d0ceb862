"""A PNG file without what browsers ignore: text, colour profiles and damaged extras never decide whether it is read.

Pillow parses every chunk and refuses the file over a checksum of a comment. Browsers read the chunks that make pixels, and drop
others that are damaged (PNG 1.2, section 10.1: decoders may skip ancillary chunks). Colour profiles are not applied, as before.
"""

from __future__ import annotations

import struct
import zlib

from foveal_runtime.photo.png import PIXELS, SIGNATURE, chunks

_NEEDED = PIXELS | {b"IEND"}
_OF_USE = frozenset({b"eXIf", b"acTL", b"fcTL"})
"""Kept where their checksum is right: the orientation, and whether there are several frames."""
_LONGEST_EXTRA = 1 << 20
"""Bytes of an extra chunk that are looked at."""


def plain_png(data: bytes) -> bytes:
    """The file with the chunks that matter; the very same where it is no PNG, or its chunks can't be followed."""
    if not data.startswith(SIGNATURE):
        return data
    kept, rest = [SIGNATURE], len(SIGNATURE)
    for name, place, length in chunks(data):
        end = place + 12 + length
        if end > len(data):
            break  # cut short: the decoder says so
        rest = end
        if name in _NEEDED or (name in _OF_USE and _is_intact(data, place, length)):
            kept.append(data[place:end])
    kept.append(data[rest:])
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def _is_intact(data: bytes, place: int, length: int) -> bool:
    if length > _LONGEST_EXTRA:
        return False
    written = data[place + 8 + length : place + 12 + length]
    return written == struct.pack(">I", zlib.crc32(data[place + 4 : place + 8 + length]))
