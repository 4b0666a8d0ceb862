"""The directories of a TIFF, and of EXIF, which is one: number, entries, strips and what decoding takes. Decodes nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from foveal_runtime.photo.walk import RGB_BYTES, Structure, refuse_beyond

MAX_DIRECTORIES = 16
MAX_ENTRIES = 1024
"""Of one directory; there are some 700 tags."""
MAX_PARTS = 131_072
"""Strips or tiles: 100 megapixels in tiles of 64 x 64, a plane a channel, are 73 thousand."""

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLES, _ROWS = 254, 256, 257, 258, 259, 274, 277, 278
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
_TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_REDUCED = 1
"""Bit of the subfile type: a thumbnail of another picture in the file."""
_JPEG = 7


@dataclass(frozen=True, slots=True)
class _Kind:
    """TIFF or BigTIFF, little- or big-endian."""

    order: str
    big: bool

    def number(self, data: bytes, place: int, form: str) -> int:
        return int(struct.unpack_from(self.order + form, data, place)[0])


@dataclass(frozen=True, slots=True)
class _Entry:
    form: str
    count: int
    place: int
    """Of its values in the file."""


def is_tiff(data: bytes) -> bool:
    """Whether Pillow would take the bytes for a TIFF."""
    return data[:4] in (b"MM\0*", b"II*\0", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")


def _kind(data: bytes) -> _Kind:
    return _Kind("<" if data[:2] == b"II" else ">", data[2:4] in (b"\0+", b"+\0"))


def _directory(data: bytes, kind: _Kind, place: int) -> tuple[dict[int, _Entry], int]:
    """Entries by tag, and the place of the next directory.

    Raises:
        ImageError: more entries than a photograph has.
        struct.error: the file ends before.
    """
    count = kind.number(data, place, "Q" if kind.big else "H")
    refuse_beyond(MAX_ENTRIES, count, "entries in a directory")
    head, step, inline = (8, 20, 8) if kind.big else (2, 12, 4)
    entries: dict[int, _Entry] = {}
    for at in range(place + head, place + head + step * count, step):
        tag, type_, values = struct.unpack_from(kind.order + ("HHQ" if kind.big else "HHI"), data, at)
        form = _TYPE_FORMATS.get(type_)
        if form is not None and tag not in entries:
            fits = values * struct.calcsize(form) <= inline
            where = at + step - inline
            entries[tag] = _Entry(form, values, where if fits else kind.number(data, where, "Q" if kind.big else "I"))
    return entries, kind.number(data, place + head + step * count, "Q" if kind.big else "I")


def _values(data: bytes, kind: _Kind, entry: _Entry | None) -> tuple[int, ...]:
    if entry is None:
        return ()
    refuse_beyond(MAX_PARTS, entry.count, "strips or tiles")
    return struct.unpack_from(f"{kind.order}{entry.count}{entry.form}", data, entry.place)


def _first(data: bytes, kind: _Kind, entry: _Entry | None, default: int) -> int:
    return default if entry is None or not entry.count else kind.number(data, entry.place, entry.form)


def walk_tiff(data: bytes) -> Structure:
    """Its cost, its content, and its pages that are no thumbnails.

    Raises:
        ImageError: more directories, entries, strips or tiles than a photograph has, or strips that overlap.
    """
    kind = _kind(data)
    pages: list[bool] = []
    first: dict[int, _Entry] = {}
    try:
        place, seen = kind.number(data, 8 if kind.big else 4, "Q" if kind.big else "I"), set[int]()
        while place and place not in seen:
            seen.add(place)
            refuse_beyond(MAX_DIRECTORIES, len(seen), "directories", "send one photograph a study")
            entries, place = _directory(data, kind, place)
            first = first or entries
            pages.append(not _first(data, kind, entries.get(_SUBFILE), 0) & _REDUCED)
    except (struct.error, OverflowError):
        pass  # Pillow tells what is damaged
    # A thumbnail that comes first is what would be decoded.
    count = 1 if len(pages) < 2 else sum(pages) if pages[0] else 1 + max(1, sum(pages))
    try:
        return Structure(
            decoded_bytes=_decoded_bytes(data, kind, first),
            content=_content(data, kind, first),
            pages=count,
            is_of_jpegs=_first(data, kind, first.get(_COMPRESSION), 1) == _JPEG,
        )
    except (struct.error, OverflowError):
        return Structure(decoded_bytes=0, content=(slice(None),), pages=count)


def _content(data: bytes, kind: _Kind, entries: dict[int, _Entry]) -> tuple[slice, ...]:
    offsets, lengths = ([v for tag in tags for v in _values(data, kind, entries.get(tag))] for tags in (_OFFSETS, _LENGTHS))
    # Each is decoded on its own: strips that share their bytes make a small file a long work.
    refuse_beyond(2 * len(data) + 65_536, sum(lengths), "bytes in its strips than the file holds; they overlap")
    parts = [slice(offset, offset + length) for offset, length in zip(offsets, lengths, strict=False)]
    return tuple(parts)


def _decoded_bytes(data: bytes, kind: _Kind, entries: dict[int, _Entry]) -> int:
    def first(tag: int, default: int) -> int:
        return _first(data, kind, entries.get(tag), default)

    width, height, bits, samples = first(_WIDTH, 0), first(_HEIGHT, 0), first(_BITS, 1), first(_SAMPLES, 1)
    packed = max(1, samples * bits // 8)
    picture = packed if samples == 1 else RGB_BYTES
    copies = ((samples, bits) != (3, 8)) + (first(_ORIENTATION, 1) != 1)  # to RGB, and upright
    part = 0
    if first(_COMPRESSION, 1) != 1:  # libtiff unpacks a whole strip or tile at a time
        rows = min(first(_ROWS, height), height)
        tile = first(_TILE_WIDTH, 0) * first(_TILE_HEIGHT, 0)
        part = max(width * rows, tile) * max(packed, RGB_BYTES)
    return width * height * (picture + copies * RGB_BYTES) + part


def is_turned(metadata: bytes) -> bool:
    """Whether EXIF (with or without the name that JPEG puts before it) or XMP asks for the picture to be turned."""
    if b"tiff:Orientation" in metadata:
        return True
    exif = metadata.removeprefix(b"Exif\0\0")
    if not is_tiff(exif):
        return False
    kind = _kind(exif)
    try:
        entries, _ = _directory(exif, kind, kind.number(exif, 8 if kind.big else 4, "Q" if kind.big else "I"))
        return _first(exif, kind, entries.get(_ORIENTATION), 1) != 1
    except (struct.error, OverflowError):
        return False
