"""The orientation of a photograph from its EXIF data, and nothing else of it. Reads two bytes, writes none, trusts no tag.

Cameras and programs write malformed tags beside a good orientation; who parses them all refuses photographs for values that
nobody needs (EXIF 2.32, JEITA CP-3451E; orientation is tag 0x0112 of the first directory).
"""

from __future__ import annotations

import struct

from PIL import Image

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_MAX_ENTRIES = 512
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned(picture: Image.Image, exif: bytes) -> Image.Image:
    """The picture as its EXIF data says it is to be seen.

    Args:
        picture: decoded.
        exif: of its file, with or without the leading `Exif`; empty is upright.
    """
    turn = _TURNS.get(orientation(exif))
    return picture if turn is None else picture.transpose(turn)


def orientation(exif: bytes) -> int:
    """1 to 8; 1 (upright) where there is none, or none that can be read."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    try:
        (place,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, place)
        for entry in range(min(count, _MAX_ENTRIES)):
            tag, kind = struct.unpack_from(order + "HH", data, place + 2 + 12 * entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, place + 10 + 12 * entry)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # the directory is cut short
        pass
    return 1
