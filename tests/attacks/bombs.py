"""Files that are small to send and dear to read: one function a format, every file made here, most smaller than a megabyte.

`BOMBS` is the list: a name, how to make it, and whether its structure or its header
refuses it, before anything decodes it. The others are `survived`: decoded within the limits, refused by the decoder, or ended by the limit on decoding.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pictures import chunk, saved
from PIL import Image


@dataclass(frozen=True)
class Bomb:
    """One file."""

    name: str
    make: Callable[[], bytes]
    refused: bool
    """Before anything decodes it."""

    @property
    def data(self) -> bytes:
        """The file, made once."""
        return _made(self.make)


@lru_cache(maxsize=8)
def _made(make: Callable[[], bytes]) -> bytes:
    return make()


# --- JPEG ---------------------------------------------------------------------------------------------------------------------


def jpeg(width: int = 64, height: int = 64, mode: str = "RGB", **options: object) -> bytes:
    """A grey photograph."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode == "L" else None or 0).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def scans(count: int, width: int = 8000, height: int = 8000, *, between: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = jpeg(width, height, progressive=True)
    last = data.rindex(b"\xff\xda")
    # The scan that refines nothing: an AC scan of the luminance with end-of-band runs alone.
    return data[:last] + (data[last:-2] + between) * count + b"\xff\xd9"


def segment(marker: int, payload: bytes) -> bytes:
    """One segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def with_segments(count: int, marker: int, payload: bytes = b"") -> bytes:
    """A JPEG with this segment so often before its picture."""
    data = jpeg()
    return data[:2] + segment(marker, payload) * count + data[2:]


def claims(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header says so."""
    place = next(data.index(bytes([0xFF, marker])) for marker in (0xC2, 0xC0) if bytes([0xFF, marker]) in data)
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def exif(entries: int, *, turn: int = 6) -> bytes:
    """EXIF with this many entries, the first of which turns the picture."""
    rows = b"".join(struct.pack("<HHII", 0x0112 + i, 3, 1, turn if i == 0 else 1) for i in range(entries))
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + rows + b"\0\0\0\0"


JPEGS = [
    Bomb("jpeg-500-scans", lambda: scans(500), True),
    Bomb("jpeg-5000-scans", lambda: scans(5000, 2000, 2000), True),
    Bomb("jpeg-65-scans", lambda: scans(60), True),
    Bomb("jpeg-50-scans-of-64-megapixels", lambda: scans(40), True),
    Bomb("jpeg-500-scans-hidden-behind-an-end", lambda: scans(500, between=segment(0xFE, b"\xff\xd9")), True),
    Bomb("jpeg-30-scans-of-30-megapixels", lambda: scans(20, 6000, 5000), False),
    Bomb("jpeg-60-megabytes-of-ff", lambda: b"\xff\xd8" + b"\xff" * 60_000_000, True),
    Bomb("jpeg-ff-before-the-frame", lambda: jpeg()[:2] + b"\xff" * 60_000_000 + jpeg()[2:], True),
    Bomb("jpeg-zeros-before-the-frame", lambda: jpeg()[:2] + bytes(60_000_000) + jpeg()[2:], True),
    Bomb("jpeg-ff-in-many-parts", lambda: jpeg()[:2] + (b"\xff" * 50_000 + segment(0xFE, b"")) * 900 + jpeg()[2:], True),
    Bomb("jpeg-escapes-before-the-frame", lambda: jpeg()[:2] + b"\xff\0" * 20_000_000 + jpeg()[2:], True),
    Bomb("jpeg-restarts-before-the-frame", lambda: jpeg()[:2] + b"\xff\xd0" * 5_000_000 + jpeg()[2:], True),
    Bomb("jpeg-ff-in-a-scan", lambda: jpeg()[:-2] + b"\xff" * 60_000_000 + b"\xff\xd9", True),
    Bomb("jpeg-restarts-in-a-scan", lambda: jpeg()[:-2] + b"\xff\xd0" * 20_000_000 + b"\xff\xd9", False),
    Bomb("jpeg-a-million-comments", lambda: with_segments(1_000_000, 0xFE), True),
    Bomb("jpeg-a-million-exifs", lambda: with_segments(400_000, 0xE1, b"Exif\0\0"), True),
    Bomb("jpeg-900-large-exifs", lambda: with_segments(900, 0xE1, b"Exif\0\0" + bytes(60_000)), True),
    Bomb("jpeg-tables-between-scans", lambda: scans(1, between=segment(0xC4, b"") * 1_000_000), True),
    Bomb("jpeg-exif-of-5000-entries", lambda: with_segments(1, 0xE1, exif(5000)), True),
    Bomb("jpeg-65500-square", lambda: claims(jpeg(), 65_500, 65_500), True),
    Bomb("jpeg-100-megapixels-of-nothing", lambda: claims(jpeg(), 10_000, 10_000), False),
    Bomb("jpeg-100-megapixels-progressive", lambda: jpeg(9_990, 9_990, progressive=True), False),
    Bomb("jpeg-100-megapixels-progressive-turned", lambda: turned(jpeg(9_990, 9_990, progressive=True)), True),
    Bomb("jpeg-100-megapixels-cmyk-progressive", lambda: jpeg(9_990, 9_990, "CMYK", progressive=True), True),
    Bomb("jpeg-one-line", lambda: claims(jpeg(), 65_500, 32), False),
    Bomb("jpeg-trailing-zeros", lambda: jpeg() + bytes(60_000_000), False),
]


def turned(data: bytes) -> bytes:
    """A JPEG with an EXIF orientation."""
    return data[:2] + segment(0xE1, exif(1)) + data[2:]


# --- PNG ----------------------------------------------------------------------------------------------------------------------


def png(
    width: int,
    height: int,
    *,
    kind: int = 2,
    depth: int = 8,
    before: bytes = b"",
    rows: int | None = None,
    interlaced: bool = False,
) -> bytes:
    """A black PNG; `rows` of them are there."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    size = (1 + -(-width * channels * depth // 8)) * (height if rows is None else rows)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(min(1 << 20, size - at))) for at in range(0, size, 1 << 20)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced)))
    palette = chunk(b"PLTE", bytes(768)) if kind == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + before + chunk(b"IDAT", packed) + chunk(b"IEND")


def _split(data: bytes, count: int) -> bytes:
    """A PNG with empty chunks of pixels."""
    place = data.index(b"IDAT") - 4
    return data[:place] + chunk(b"IDAT") * count + data[place:]


PNGS = [
    Bomb("png-4-million-empty-chunks", lambda: png(64, 64, before=chunk(b"teSt") * 4_000_000), True),
    Bomb("png-4-million-empty-idat", lambda: _split(png(64, 64), 4_000_000), True),
    Bomb("png-30000-empty-idat", lambda: _split(png(64, 64), 30_000), True),
    Bomb("png-chunks-behind-the-pixels", lambda: png(64, 64)[:-12] + chunk(b"teSt") * 1_000_000 + chunk(b"IEND"), True),
    Bomb(
        "png-1000-packed-texts",
        lambda: png(64, 64, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 1000),
        True,
    ),
    Bomb(
        "png-60-packed-texts", lambda: png(64, 64, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 60), False
    ),
    Bomb("png-packed-text-of-a-gigabyte", lambda: png(64, 64, before=chunk(b"zTXt", b"a\0\0" + _gigabyte())), False),
    Bomb("png-packed-profile-of-a-gigabyte", lambda: png(64, 64, before=chunk(b"iCCP", b"a\0\0" + _gigabyte())), False),
    Bomb(
        "png-500-packed-profiles",
        lambda: png(64, 64, before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 500),
        True,
    ),
    Bomb(
        "png-international-texts",
        lambda: png(64, 64, before=chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(1 << 20))) * 500),
        True,
    ),
    Bomb("png-16-bit-grey-98-megapixels", lambda: png(9_900, 9_900, kind=0, depth=16), False),
    Bomb("png-16-bit-grey-cut", lambda: png(9_900, 9_900, kind=0, depth=16, rows=9_000), False),
    Bomb("png-rgba-98-megapixels", lambda: png(9_900, 9_900, kind=6), False),
    Bomb("png-rgba-16-bit-98-megapixels", lambda: png(9_900, 9_900, kind=6, depth=16), False),
    Bomb("png-rgb-98-megapixels", lambda: png(9_900, 9_900), False),
    Bomb("png-rgb-98-megapixels-interlaced", lambda: png(9_900, 9_900, interlaced=True, rows=10_000), False),
    Bomb("png-rgba-98-megapixels-turned", lambda: png(9_900, 9_900, kind=6, before=chunk(b"eXIf", exif(1)[6:])), True),
    Bomb("png-palette-98-megapixels", lambda: png(9_900, 9_900, kind=3, before=chunk(b"tRNS", bytes(256))), False),
    Bomb("png-one-bit-98-megapixels", lambda: png(9_900, 9_900, kind=0, depth=1), False),
    Bomb("png-60000-square", lambda: png(60_000, 60_000, rows=10), True),
    Bomb("png-two-billion-wide", lambda: png(2_000_000_000, 32, rows=0), True),
    Bomb("png-pixels-behind-the-last-row", lambda: png(64, 64, rows=10_000_000), False),
    Bomb("png-a-million-frames", lambda: png(64, 64, before=chunk(b"acTL", struct.pack(">II", 1_000_000, 0))), True),
    Bomb(
        "png-frame-controls",
        lambda: png(64, 64, before=chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(26)) * 10_000),
        True,
    ),
    Bomb("png-exif-of-60000-entries", lambda: png(64, 64, before=chunk(b"eXIf", exif(60_000)[6:])), True),
]


@lru_cache
def _gigabyte() -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()


# --- TIFF ---------------------------------------------------------------------------------------------------------------------


def tiff_file(image: Image.Image, **options: object) -> bytes:
    """A TIFF."""
    return saved(image, "TIFF", **options)


def directories(count: int, *, loop: bool = False, big: bool = False) -> bytes:
    """A small TIFF with this many directories, each a few tags."""
    order, size = ("Q", 8) if big else ("I", 4)
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    tags = [
        (256, 3, 1, 64),
        (257, 3, 1, 64),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 0),
        (278, 3, 1, 64),
        (279, 4, 1, 4096),
    ]
    form = "<HHQQ" if big else "<HHII"
    body = b"".join(struct.pack(form, *tag) for tag in tags)
    each = (8 if big else 2) + len(body) + size
    start = len(head) + size
    out = [head, struct.pack("<" + order, start)]
    for i in range(count):
        following = start + (i + 1) * each if i + 1 < count else start if loop else 0
        out.append(struct.pack("<Q" if big else "<H", len(tags)) + body + struct.pack("<" + order, following))
    return b"".join(out) + bytes(4096)


def entries(count: int, *, shared: int = 0) -> bytes:
    """A TIFF whose only directory has this many entries, which share `shared` bytes of values."""
    rows = b"".join(struct.pack("<HHII", 1000 + i % 60_000, 1, shared or 1, 8) for i in range(count))
    return b"II*\0" + struct.pack("<I", 8 + shared) + bytes(shared) + struct.pack("<H", count) + rows + bytes(4)


def big_count() -> bytes:
    """A BigTIFF that claims 2^60 entries."""
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60) + bytes(2_000_000)


def changed(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF of one directory whose tag has another value."""
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    out = bytearray(data)
    for at in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<HI", out, at + 2, 4, 1)
            struct.pack_into("<I", out, at + 8, value)
    return bytes(out)


def strips_that_overlap(count: int) -> bytes:
    """A TIFF all of whose strips are the same bytes: packed zeros of many rows."""
    packed = zlib.compress(bytes(60_000 * 16), 9)
    width, height = 60_000, 16 * count
    table = 8 + len(packed)
    offsets, lengths = struct.pack("<I", 8) * count, struct.pack("<I", len(packed)) * count
    directory = table + len(offsets) + len(lengths)
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, count, table), (277, 3, 1, 1), (278, 4, 1, 16), (279, 4, count, table + len(offsets)),
    ]  # fmt: skip
    return (
        b"II*\0" + struct.pack("<I", directory) + packed + offsets + lengths + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    )  # fmt: skip


def _int32(side: int) -> bytes:
    return tiff_file(Image.fromarray(np.zeros((side, side), np.int32)), compression="tiff_adobe_deflate")


def _wide_tiff(mode: str, side: int, **options: object) -> bytes:
    return tiff_file(Image.new(mode, (side, side)), **options)


TIFFS = [
    Bomb("tiff-100000-directories", lambda: directories(100_000), True),
    Bomb("tiff-17-directories", lambda: directories(17), True),
    Bomb("tiff-100000-directories-big", lambda: directories(100_000, big=True), True),
    Bomb("tiff-directories-in-a-circle", lambda: directories(5, loop=True), True),
    Bomb("tiff-a-directory-that-is-its-own-next", lambda: directories(1, loop=True), False),
    Bomb("tiff-60000-entries", lambda: entries(60_000), True),
    Bomb("tiff-1000-entries-that-share-40-megabytes", lambda: entries(1000, shared=40_000_000), False),
    Bomb("tiff-a-quintillion-entries", big_count, True),
    Bomb("tiff-int32-98-megapixels", lambda: _int32(9_900), False),
    Bomb("tiff-int32-one-strip", lambda: changed(_int32(9_900), 278, 9_900), True),
    Bomb("tiff-float-98-megapixels", lambda: _wide_tiff("F", 9_900, compression="tiff_adobe_deflate"), True),
    Bomb("tiff-rgba-98-megapixels", lambda: _wide_tiff("RGBA", 9_900, compression="tiff_adobe_deflate"), False),
    Bomb("tiff-cmyk-98-megapixels", lambda: _wide_tiff("CMYK", 9_900, compression="tiff_adobe_deflate"), False),
    Bomb("tiff-one-bit-group4", lambda: _wide_tiff("1", 9_900, compression="group4"), False),
    Bomb("tiff-strips-that-overlap", lambda: strips_that_overlap(100), True),
    Bomb(
        "tiff-rows-a-strip-of-four-billion",
        lambda: changed(_wide_tiff("RGB", 2000, compression="tiff_lzw"), 278, 0xFFFFFFFF),
        False,
    ),
    Bomb("tiff-60000-square", lambda: changed(changed(_wide_tiff("RGB", 64), 256, 60_000), 257, 60_000), True),
    Bomb("tiff-10000-samples", lambda: changed(_wide_tiff("RGB", 64), 277, 10_000), True),
]

# --- WebP ---------------------------------------------------------------------------------------------------------------------


def webp(width: int, height: int, mode: str = "RGB", *, lossless: bool = True) -> bytes:
    """A black WebP."""
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "WEBP", lossless=lossless, quality=0, method=0)
    return buffer.getvalue()


def riff(*chunks: bytes) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunk(name: bytes, payload: bytes = b"") -> bytes:
    """One chunk."""
    return name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1)


def extended(width: int, height: int, flags: int = 0) -> bytes:
    """The chunk that tells the canvas."""
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def frame(picture: bytes, width: int, height: int) -> bytes:
    """One frame of an animation."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff_chunk(b"ANMF", bytes(6) + sizes + b"\x64\0\0\0" + picture[12:])


ANIMATED = 2


WEBPS = [
    Bomb("webp-a-million-chunks", lambda: riff(extended(64, 64), riff_chunk(b"junk") * 1_000_000, webp(64, 64)[12:]), True),
    Bomb("webp-a-million-frames", lambda: _frames(300_000), True),
    Bomb("webp-900-frames", lambda: _frames(900), True),
    Bomb("webp-98-megapixels", lambda: webp(9_900, 9_900), True),
    Bomb("webp-98-megapixels-alpha", lambda: webp(9_900, 9_900, "RGBA"), True),
    Bomb("webp-50-megapixels", lambda: webp(7_000, 7_000), True),
    Bomb("webp-canvas-of-16-million-square", lambda: riff(extended(1 << 24, 1 << 24, ANIMATED), riff_chunk(b"ANIM", bytes(6)), frame(webp(64, 64), 64, 64)), True),
    Bomb("webp-one-small-frame-on-a-large-canvas", lambda: riff(extended(9_900, 9_900, ANIMATED), riff_chunk(b"ANIM", bytes(6)), frame(webp(64, 64), 64, 64)), True),
]  # fmt: skip


def _frames(count: int) -> bytes:
    return riff(extended(64, 64, ANIMATED), riff_chunk(b"ANIM", bytes(6)), frame(webp(64, 64), 64, 64) * count)


# --- DICOM --------------------------------------------------------------------------------------------------------------------


def dicom_with(extra: bytes, *, implicit: bool = False) -> bytes:
    """A DICOM file with more elements before its pixels."""
    from dicoms import dicom

    data = dicom(np.zeros((64, 64, 3), np.uint8))
    if implicit:
        data = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    place = data.index(b"\xe0\x7f\x10\0")
    return data[:place] + extra + data[place:]


ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
SEQUENCE = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff"
OPEN_ITEM = ITEM + b"\xff\xff\xff\xff"


def packed_dicom(frame_bytes: bytes, side: int, *, channels: int, syntax: str, photometric: str) -> bytes:
    """A DICOM file of a compressed frame, whose header says the same size."""
    from dicoms import dicom

    shape = (side, side, 3) if channels == 3 else (side, side)
    pixels = np.broadcast_to(np.zeros((), np.uint8), shape)
    return dicom(pixels, encapsulate=frame_bytes, syntax=syntax, PhotometricInterpretation=photometric)


def jpeg_2000(side: int, mode: str) -> bytes:
    """A black codestream."""
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    return buffer.getvalue()


def _jpeg_2000(side: int, mode: str = "L") -> bytes:
    channels = 3 if mode == "RGB" else 1
    photometric = "RGB" if channels == 3 else "MONOCHROME2"
    return packed_dicom(jpeg_2000(side, mode), side, channels=channels, syntax="JPEG2000Lossless", photometric=photometric)


def _rle(side: int) -> bytes:
    """Runs of three: a step of Python for two bytes."""
    size = side * side
    row = b"\xfe\0" * (-(-size // 3))
    head = struct.pack("<16I", 3, 64, 64 + len(row), 64 + 2 * len(row), *[0] * 12)
    return packed_dicom(head + row * 3, side, channels=3, syntax="RLELossless", photometric="RGB")


def _fragments(count: int) -> bytes:
    data = packed_dicom(jpeg(), 64, channels=3, syntax="JPEGBaseline8Bit", photometric="YBR_FULL_422")
    place = data.rindex(SEQUENCE_END)
    return data[:place] + (ITEM + bytes(4)) * count + data[place:]


def _progressive_frame() -> bytes:
    return packed_dicom(scans(500, 4000, 4000), 4000, channels=3, syntax="JPEGBaseline8Bit", photometric="YBR_FULL_422")


DICOMS = [
    Bomb("dicom-3-million-items", lambda: dicom_with(SEQUENCE + (ITEM + bytes(4)) * 3_000_000 + SEQUENCE_END), True),
    Bomb("dicom-3-million-open-items", lambda: dicom_with(SEQUENCE + (OPEN_ITEM + ITEM_END) * 3_000_000 + SEQUENCE_END), True),
    Bomb("dicom-100000-sequences-inside-each-other", lambda: dicom_with((SEQUENCE + OPEN_ITEM) * 100_000), True),
    Bomb("dicom-40-sequences-inside-each-other", lambda: dicom_with((SEQUENCE + OPEN_ITEM) * 40), True),
    Bomb("dicom-4-million-elements", lambda: dicom_with(b"\x28\0\x02\x01US\2\0\0\0" * 4_000_000), True),
    Bomb("dicom-a-million-implicit-elements", lambda: dicom_with(b"\x28\0\x02\x01\2\0\0\0\0\0" * 1_000_000, implicit=True), True),
    Bomb("dicom-unknown-sequence-of-a-million-items", lambda: dicom_with(b"\x09\0\x01\x10UN\0\0\xff\xff\xff\xff" + (ITEM + bytes(4)) * 1_000_000 + SEQUENCE_END), True),
    Bomb("dicom-a-million-fragments", lambda: _fragments(1_000_000), True),
    Bomb("dicom-jpeg-2000-grey-98-megapixels", lambda: _jpeg_2000(9_900), True),
    Bomb("dicom-jpeg-2000-grey-36-megapixels", lambda: _jpeg_2000(6_000), False),
    Bomb("dicom-jpeg-2000-rgb-36-megapixels", lambda: _jpeg_2000(6_000, "RGB"), True),
    Bomb("dicom-rle-25-megapixels", lambda: _rle(5_000), False),
    Bomb("dicom-jpeg-of-500-scans", _progressive_frame, True),
    Bomb("dicom-an-element-of-four-gigabytes", lambda: dicom_with(b"\x28\0\x00\x30OB\0\0\xfe\xff\xff\xff"), True),
    Bomb("dicom-a-million-delimiters", lambda: dicom_with(SEQUENCE_END * 1_000_000), True),
]  # fmt: skip

# --- raw ----------------------------------------------------------------------------------------------------------------------


def _raw(sample_type: str, side: int, bytes_each: int) -> bytes:
    from foveal_runtime.photo.raw import pack_raw

    return pack_raw(bytes(side * side * 3 * bytes_each), side, side, sample_type)


RAWS = [
    Bomb("raw-uint16-9-megapixels", lambda: _raw("uint16", 3_000, 2), False),
    Bomb("raw-float-5-megapixels", lambda: _raw("float32", 2_200, 4), False),
]

BOMBS = [*JPEGS, *PNGS, *TIFFS, *WEBPS, *DICOMS, *RAWS]
