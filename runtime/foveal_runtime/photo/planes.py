"""What a TIFF file says of its layout, and its planes one by one where Pillow can't put them together. Decodes nothing.

Pillow reads one plane of any depth and compression, and several planes of 8 bits of colour; else it takes separate planes for
interleaved ones, or 16-bit grey whose white is zero for its negative. So such a file is offered to it as several of one plane
each: the same bytes with another directory, whose strips or tiles are that plane's (TIFF 6.0, PlanarConfiguration).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.tiff import Entry, Kind, directory, first_value, kind_of, values

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 274, 277, 279, 284
_TILE_OFFSETS, _TILE_BYTES, _SAMPLE_FORMAT = 324, 325, 339
_OF_A_PLANE = (_WIDTH, _HEIGHT, _COMPRESSION, 266, _ORIENTATION, 278, 317, 322, 323)
"""Tags that hold for each plane: size, compression, fill order, orientation, rows a strip, predictor, sides of a tile."""
_JPEG_TABLES = 347
_JPEG = 7
_MAX_ENTRIES = 512
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Layout:
    """The first directory, as far as it is needed."""

    data: bytes
    kind: Kind
    entries: dict[int, Entry]

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        return first_value(self.data, self.kind, self.entries.get(tag), default)

    def all(self, tag: int) -> tuple[int, ...]:
        """All values of a tag; none where it is absent."""
        return values(self.data, self.kind, self.entries.get(tag))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.first(_WIDTH, 0), self.first(_HEIGHT, 0)

    @property
    def bits(self) -> int:
        """Of a sample."""
        return self.first(_BITS, 1)

    @property
    def samples(self) -> int:
        """Of a pixel."""
        return self.first(_SAMPLES, 1)

    @property
    def has_planes(self) -> bool:
        """Whether the samples of a pixel lie in planes of their own."""
        return self.first(_PLANAR, 1) == 2 and self.samples > 1

    @property
    def white_is_zero(self) -> bool:
        """Whether grey is stored inverted."""
        return self.first(_PHOTOMETRIC, _BLACK_IS_ZERO) == _WHITE_IS_ZERO

    @property
    def by_planes(self) -> bool:
        """Whether it has to be read by `planes`: several, or one of inverted 16-bit grey, which Pillow gives as it is stored.

        Raises:
            ImageError: 16-bit grey and alpha interleaved, which nobody here reads.
        """
        if self.bits == 16 and self.samples == 2 and not self.has_planes:
            raise ImageError("TIFF image holds 16-bit grey with alpha interleaved; save it without alpha")
        return self.has_planes or (self.white_is_zero and self.bits == 16 and self.samples == 1)

    def planes(self) -> Iterator[bytes]:
        """A TIFF file of one grey plane for each sample, black is zero.

        Raises:
            ImageError: a layout that can't be divided.
        """
        photometric, bits = self.first(_PHOTOMETRIC, _BLACK_IS_ZERO), self.all(_BITS)
        offsets_tag = _TILE_OFFSETS if _TILE_OFFSETS in self.entries else _STRIP_OFFSETS
        bytes_tag = _TILE_BYTES if offsets_tag == _TILE_OFFSETS else _STRIP_BYTES
        offsets, sizes = self.all(offsets_tag), self.all(bytes_tag)
        wanted = {(_RGB, 3), (_RGB, 4), (_BLACK_IS_ZERO, 2), (_WHITE_IS_ZERO, 1), (_WHITE_IS_ZERO, 2)}
        if (
            (photometric, self.samples) not in wanted
            or set(bits) not in ({8}, {16})
            or set(self.all(_SAMPLE_FORMAT)) - {1}
            or not offsets
            or len(offsets) % self.samples
            or len(offsets) != len(sizes)
            or (self.first(_COMPRESSION, 1) == _JPEG and _JPEG_TABLES in self.entries)
        ):
            raise ImageError("TIFF image has separate planes in a layout that is not read; save it with interleaved samples")
        each = len(offsets) // self.samples
        for plane in range(self.samples):
            part = slice(plane * each, (plane + 1) * each)
            tags = {tag: found for tag in _OF_A_PLANE if (found := self.all(tag))} | {
                _BITS: (bits[0],),
                _PHOTOMETRIC: (_BLACK_IS_ZERO,),
                _SAMPLES: (1,),
                offsets_tag: offsets[part],
                bytes_tag: sizes[part],
            }
            yield _with_directory(self.data, self.kind.order, tags)


def layout_of(data: bytes) -> Layout:
    """The first directory of a TIFF file.

    Raises:
        ImageError: it can't be followed.
    """
    kind = kind_of(data)
    try:
        entries, _ = directory(data, kind, kind.first_directory(data), most=_MAX_ENTRIES)
    except struct.error:
        raise ImageError("TIFF image's directory is cut short; send an intact file") from None
    return Layout(data, kind, entries)


def _with_directory(data: bytes, order: str, tags: dict[int, tuple[int, ...]]) -> bytes:
    """The file with another directory, which is appended; a BigTIFF's offsets have to fit into 32 bits."""
    start = len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = [], b""
    try:
        for tag, numbers in sorted(tags.items()):
            packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
            if len(numbers) == 1:
                entries.append(struct.pack(order + "HHI", tag, 4, 1) + packed)
            else:
                entries.append(struct.pack(order + "HHII", tag, 4, len(numbers), values_at + len(values)))
                values += packed
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
        directory = struct.pack(order + "H", len(tags)) + b"".join(entries) + struct.pack(order + "I", 0)
    except struct.error:
        raise ImageError("TIFF image is larger than 4 GB; send it scaled down") from None
    return b"".join((head, data[8:], b"\0" * (len(data) % 2), directory, values))
