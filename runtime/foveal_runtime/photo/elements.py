"""The data elements of a DICOM file: number, depth, and what its picture takes. Decodes nothing, and needs no pydicom.

pydicom makes an object of every element, every item and every fragment; what it reads lazily, sequences of known length, is
passed over here too.
"""

from __future__ import annotations

import contextlib
import struct

from foveal_runtime.photo.walk import Structure, refuse_beyond

MAX_ELEMENTS = 8192
"""Elements, items and fragments together; an ophthalmic photograph has some hundred."""
MAX_DEPTH = 32
"""Sequences inside each other."""

_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_PIXELS = 0x7FE00010
_SYNTAX, _SAMPLES, _COLOURS, _ROWS, _COLUMNS, _BITS = 0x00020010, 0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100
_UNDEFINED = 0xFFFFFFFF
_IMPLICIT, _BIG_ENDIAN = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"
_NATIVE = frozenset({b"", _IMPLICIT, _BIG_ENDIAN, b"1.2.840.10008.1.2.1"})
_JPEG_2000 = b"1.2.840.10008.1.2.4.9"
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""Value representations whose length has four bytes, behind two that are reserved."""
_FLAT = frozenset({b"OB", b"OW"})
"""Of undefined length these hold fragments; all others are read as sequences."""
_MAGIC_AT, _START = 128, 132
_MAX_META = 64
"""Elements of the file's meta information; the standard has 15."""
_BARE = (b"\x02\0\0\0UL", b"\x08\0\x05\0CS", b"\x08\0\x08\0CS", b"\x08\0\x16\0UI")
"""How files begin that were written without the preamble: with the first elements of a data set."""


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are a DICOM file (part 10), or a data set that was written without its preamble."""
    return has_preamble(data) or data.startswith(_BARE)


def has_preamble(data: bytes) -> bool:
    """Whether the bytes begin as a file of DICOM part 10 does."""
    return data[_MAGIC_AT:_START] == b"DICM"


def transfer_syntax(data: bytes) -> str:
    """Of the file's meta information, little-endian with explicit types (PS3.10, section 7.1); empty where it has none."""
    place = _START
    for _ in range(_MAX_META):
        group, element, kind = data[place : place + 2], data[place + 2 : place + 4], data[place + 4 : place + 6]
        if group != b"\x02\0" or len(data) < place + 12:
            break
        length = int.from_bytes(data[place + 8 : place + 12] if kind in _LONG else data[place + 6 : place + 8], "little")
        place += 12 if kind in _LONG else 8
        if element == b"\x10\0":
            return data[place : place + length].rstrip(b"\0 ").decode("ascii", "replace")
        place += length
    return ""


class _Walk:
    """One pass from header to header. Sequences of undefined length are gone into, everything else is passed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = _START
        self._order = "<"
        self._implicit = [False]
        """By depth: whether elements of this item come without their value representation."""
        self._assumed = [False]
        """The same of the sequence around it: pydicom looks at each item's first element."""
        self._in_meta = True
        self._steps = 0
        self.syntax = b""
        self.numbers: dict[int, int] = {}
        """Values of the top level that tell the size of the picture, by tag."""
        self.converted = False
        """Whether colours are luminance and chrominance, which pydicom makes RGB of."""
        self.pixels = slice(None)

    def run(self) -> None:
        """To the end of the file.

        Raises:
            ImageError: more elements or deeper sequences than a photograph has.
            struct.error: the file is cut.
        """
        while self._place + 8 <= len(self._data):
            self._count()
            if self._in_meta and self._data[self._place : self._place + 2] != b"\2\0":
                self._leave_meta()
            group, element = self._unpack("HH", 0)
            tag = group << 16 | element
            if group == 0xFFFE:
                self._place += 8
                if tag == _SEQUENCE_END and len(self._implicit) > 1:
                    self._implicit.pop()
                    self._assumed.pop()
                elif tag == _ITEM:
                    self._implicit[-1] = self._assumed[-1] or not self._has_kind()
            else:
                self._element(tag)

    def _count(self) -> None:
        self._steps += 1
        refuse_beyond(MAX_ELEMENTS, self._steps, "DICOM elements")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, self._place + offset)

    def _leave_meta(self) -> None:
        """What follows is in the file's transfer syntax; pydicom believes the first element rather than what that says."""
        self._in_meta = False
        self._order = ">" if self.syntax == _BIG_ENDIAN else "<"
        self._implicit = self._assumed = [not self._has_kind()]

    def _has_kind(self) -> bool:
        kind = self._data[self._place + 4 : self._place + 6]
        return kind.isalpha() and kind.isupper()

    def _element(self, tag: int) -> None:
        kind = self._data[self._place + 4 : self._place + 6]
        if self._implicit[-1] or not b"AA" <= kind <= b"ZZ":
            kind, (length,), size = b"", self._unpack("I", 4), 8
        elif kind in _LONG:
            (length,), size = self._unpack("I", 8), 12
        else:
            (length,), size = self._unpack("H", 6), 8
        self._place += size
        if len(self._implicit) == 1:
            self._note(tag, length)
        if length != _UNDEFINED:
            self._place += length
        elif tag == _PIXELS or kind in _FLAT:
            self._fragments()
        else:
            self._implicit.append(self._implicit[-1])
            self._assumed.append(self._implicit[-1])
            refuse_beyond(MAX_DEPTH, len(self._implicit) - 1, "DICOM sequences inside each other")

    def _note(self, tag: int, length: int) -> None:
        if tag in (_SAMPLES, _ROWS, _COLUMNS, _BITS) and length >= 2:
            (self.numbers[tag],) = self._unpack("H", 0)
        elif tag == _COLOURS:
            self.converted = self._data[self._place : self._place + 3] == b"YBR"
        elif tag == _SYNTAX:
            self.syntax = self._data[self._place : self._place + min(length, 64)].rstrip(b"\0 ")
        elif tag == _PIXELS:
            self.pixels = slice(self._place, self._place + length)  # of undefined length: to the end

    def _fragments(self) -> None:
        while self._place + 8 <= len(self._data):
            self._count()
            group, element = self._unpack("HH", 0)
            (length,) = self._unpack("I", 4)
            self._place += 8
            if group << 16 | element != _ITEM or length == _UNDEFINED:
                return
            self._place += length


def walk_dicom(data: bytes) -> Structure:
    """Its cost and its content.

    Raises:
        ImageError: more elements or deeper sequences than a photograph has.
    """
    walk = _Walk(data)
    with contextlib.suppress(struct.error):  # pydicom tells what is damaged
        walk.run()
    get = walk.numbers.get
    pixels, samples, sample_bytes = get(_ROWS, 0) * get(_COLUMNS, 0), get(_SAMPLES, 1), max(1, get(_BITS, 8) // 8)
    # Bytes a pixel, measured with noise of 9 megapixels (docs/decisions.md): the file's own, pydicom's arrays, which are of
    # floating-point numbers while YBR becomes RGB, OpenJPEG's samples of four bytes, the RGB array, and Pillow's picture.
    if walk.syntax in _NATIVE:
        each = 10 + 2 * samples * sample_bytes + 16 * walk.converted
    elif walk.syntax.startswith(_JPEG_2000):
        each = 6 + samples * (6 + 4 * sample_bytes)
    else:
        each = 8 + samples * (4 + 4 * sample_bytes)
    return Structure(decoded_bytes=pixels * each, content=(walk.pixels,))
