"""The main header of a JPEG 2000 codestream: whether its decoder makes RGB of the colours. Decodes nothing."""

from __future__ import annotations

_START = b"\xff\x4f\xff\x51"
"""SOC and SIZ, with which a codestream begins, also inside a JP2 file."""
_CODING, _TILE = 0xFF52, 0xFF90
_TRANSFORM_AT = 8
"""In the segment of the coding style: behind marker, length, style, progression and layers."""


def is_transformed(frame: bytes) -> bool:
    """Whether the codestream says that its colours were transformed (ISO 15444-1, A.6.1): the decoder turns them back."""
    place = frame.find(_START)
    if place < 0:
        return False
    place += 2
    while place + 4 <= len(frame):
        marker = int.from_bytes(frame[place : place + 2], "big")
        if marker == _CODING:
            return frame[place + _TRANSFORM_AT : place + _TRANSFORM_AT + 1] == b"\x01"
        if marker == _TILE:
            break
        place += 2 + max(2, int.from_bytes(frame[place + 2 : place + 4], "big"))
    return False
