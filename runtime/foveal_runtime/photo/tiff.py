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
class Kind:
    """TIFF or BigTIFF, little- or big-endian."""

    order: str
    """Of bytes, for `struct`."""
    big: bool

    def number(self, data: bytes, place: int, form: str) -> int:
        """One number of the file; raises struct.error where it ends before."""
        return int(struct.unpack_from(self.order + form, data, place)[0])

    def first_directory(self, data: bytes) -> int:
        """Where the first directory begins."""
        return self.number(data, 8 if self.big else 4, "Q" if self.big else "I")


@dataclass(frozen=True, slots=True)
class Entry:
    """A field of a directory that holds whole numbers."""

    form: str
    """Of one value, for `struct`."""
    count: int
    """Of its values."""
    place: int
    """Of its values in the file."""


def is_tiff(data: bytes) -> bool:
    """Whether Pillow would take the bytes for a TIFF."""
    return data[:4] in (b"MM\0*", b"II*\0", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")


def kind_of(data: bytes) -> Kind:
    """How the numbers of a TIFF are written."""
    return Kind("<" if data[:2] == b"II" else ">", data[2:4] in (b"\0+", b"+\0"))


def directory(data: bytes, kind: Kind, place: int, *, most: int = MAX_ENTRIES) -> tuple[dict[int, Entry], int]:
    """Entries by tag, and the place of the next directory, 0 where there is none.

    Args:
        data: the file.
        kind: how it writes numbers.
        place: of the directory.
        most: entries that it may have.

    Raises:
        ImageError: more of them.
        struct.error: the file ends before.
    """
    count = kind.number(data, place, "Q" if kind.big else "H")
    refuse_beyond(most, count, "entries in a directory")
    head, step, inline = (8, 20, 8) if kind.big else (2, 12, 4)
    entries: dict[int, Entry] = {}
    end = place + head + step * count
    for at in range(place + head, end, step):
        tag, type_, count = struct.unpack_from(kind.order + ("HHQ" if kind.big else "HHI"), data, at)
        form = _TYPE_FORMATS.get(type_)
        if form is not None and tag not in entries:
            fits = count * struct.calcsize(form) <= inline
            where = at + step - inline
            entries[tag] = Entry(form, count, where if fits else kind.number(data, where, "Q" if kind.big else "I"))
    # Some writers leave out where the next one is, and there is none.
    return entries, kind.number(data, end, "Q" if kind.big else "I") if end + inline <= len(data) else 0


def values(data: bytes, kind: Kind, entry: Entry | None) -> tuple[int, ...]:
    """All values of a field; none where there is no such field.

    Raises:
        ImageError: more than a photograph has strips.
        struct.error: the file ends before.
    """
    if entry is None:
        return ()
    refuse_beyond(MAX_PARTS, entry.count, "strips or tiles")
    return struct.unpack_from(f"{kind.order}{entry.count}{entry.form}", data, entry.place)


def first_value(data: bytes, kind: Kind, entry: Entry | None, default: int) -> int:
    """The first value of a field, or the default."""
    return default if entry is None or not entry.count else kind.number(data, entry.place, entry.form)


def walk_tiff(data: bytes) -> Structure:
    """Its cost, its content, and its pages that are no thumbnails.

    Raises:
        ImageError: more directories, entries, strips or tiles than a photograph has, or strips that overlap.
    """
    kind = kind_of(data)
    pages: list[bool] = []
    first: dict[int, Entry] = {}
    try:
        place, seen = kind.first_directory(data), set[int]()
        while place and place not in seen:
            seen.add(place)
            refuse_beyond(MAX_DIRECTORIES, len(seen), "directories", "send one photograph a study")
            entries, place = directory(data, kind, place)
            first = first or entries
            pages.append(not first_value(data, kind, entries.get(_SUBFILE), 0) & _REDUCED)
    except (struct.error, OverflowError):
        pass  # Pillow tells what is damaged
    # A thumbnail that comes first is what would be decoded.
    count = 1 if len(pages) < 2 else sum(pages) if pages[0] else 1 + max(1, sum(pages))
    try:
        return Structure(
            decoded_bytes=_decoded_bytes(data, kind, first),
            content=_content(data, kind, first),
            pages=count,
            is_of_jpegs=first_value(data, kind, first.get(_COMPRESSION), 1) == _JPEG,
        )
    except (struct.error, OverflowError):
        return Structure(decoded_bytes=0, content=(slice(None),), pages=count)


def _content(data: bytes, kind: Kind, entries: dict[int, Entry]) -> tuple[slice, ...]:
    offsets, lengths = ([v for tag in tags for v in values(data, kind, entries.get(tag))] for tags in (_OFFSETS, _LENGTHS))
    # Each is decoded on its own: strips that share their bytes make a small file a long work.
    refuse_beyond(2 * len(data) + 65_536, sum(lengths), "bytes in its strips than the file holds; they overlap")
    parts = [slice(offset, offset + length) for offset, length in zip(offsets, lengths, strict=False)]
    return tuple(parts)


def tiff_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the first picture; None where its directory does not tell.

    Raises:
        ImageError: more entries than a photograph has.
        struct.error: the file ends before.
    """
    kind = kind_of(data)
    entries, _ = directory(data, kind, kind.first_directory(data))
    width, height = (first_value(data, kind, entries.get(tag), 0) for tag in (_WIDTH, _HEIGHT))
    return (width, height) if width and height else None


def _decoded_bytes(data: bytes, kind: Kind, entries: dict[int, Entry]) -> int:
    def first(tag: int, default: int) -> int:
        return first_value(data, kind, entries.get(tag), default)

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
    kind = kind_of(exif)
    try:
        entries, _ = directory(exif, kind, kind.first_directory(exif))
        return first_value(exif, kind, entries.get(_ORIENTATION), 1) != 1
    except (struct.error, OverflowError):
        return False
