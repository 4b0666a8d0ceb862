"""TIFF layouts, EXIF and PNG extras: true pixels, or refused by name. A second writer and reader: tifffile."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import photograph as drawn
from pictures import chunk, saved
from PIL import Image

from foveal_runtime.client.requests import scaled_down
from foveal_runtime.errors import ImageError
from foveal_runtime.photo.exif import orientation
from foveal_runtime.photo.extras import plain_png
from foveal_runtime.photo.imaging import ImageSpec, photograph
from foveal_runtime.photo.png import SIGNATURE

SPEC = ImageSpec(side_px=64)
tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

RGB_HWC = np.asarray(Image.open(io.BytesIO(drawn(2))).convert("RGB"))[:192, :256]
GREY_HW = np.asarray(Image.fromarray(RGB_HWC).convert("L"))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(photograph(data, SPEC)).astype(int)


# --- TIFF -------------------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[str, bool]] = {
    "rgb": ("rgb", False), "rgba": ("rgb", True), "grey": ("minisblack", False), "inverted": ("miniswhite", False),
    "grey and alpha": ("minisblack", True),
}  # fmt: skip


def layouts() -> Iterator[tuple[Any, ...]]:
    for kind, bits, planar, parts, order, compression, predictor in itertools.product(
        KINDS, (8, 16), ("contig", "separate"), ("strip", "strips", "tiles"), "<>",
        (None, "lzw", "deflate", "packbits", "zstd", "jpeg"), (False, True),
    ):  # fmt: skip
        samples = 1 if kind in ("grey", "inverted") else 2 if kind == "grey and alpha" else 3
        if planar == "separate" and samples == 1:
            continue
        if predictor and compression not in ("lzw", "deflate", "zstd"):
            continue
        if compression == "jpeg" and (bits == 16 or KINDS[kind][1]):
            continue
        yield kind, bits, planar, parts, order, compression, predictor


def tiff(
    kind: str, bits: int, planar: str, parts: str, order: str, compression: str | None, predictor: bool, *, big: bool = False
) -> tuple[bytes, np.ndarray]:
    """A file of that layout, and the pixels that are right."""
    photometric, alpha = KINDS[kind]
    image = RGB_HWC if photometric == "rgb" else GREY_HW
    expected = image if photometric == "rgb" else np.repeat(GREY_HW[..., None], 3, axis=2)
    stored = 255 - image if kind == "inverted" else image
    if alpha:
        stored = np.dstack([stored, np.full(stored.shape[:2], 255, np.uint8)])
    if bits == 16:
        stored = stored.astype(np.uint16) * 257
    if planar == "separate":
        stored = np.moveaxis(stored, -1, 0)
    options: dict[str, Any] = {"photometric": photometric, "compression": compression, "predictor": predictor or None}
    if alpha:
        options["extrasamples"] = ["unassalpha"]
    if stored.ndim == 3:
        options["planarconfig"] = planar
    options |= {"tiles": {"tile": (64, 64)}, "strips": {"rowsperstrip": 16}, "strip": {}}[parts]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=order, bigtiff=big) as writer:
        writer.write(stored, **options)
    return buffer.getvalue(), expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_of_a_tiff_gives_its_true_pixels_or_is_refused_by_name(kind: str) -> None:
    tried = wrong = refused = 0
    for layout in layouts():
        if layout[0] != kind:
            continue
        data, expected = tiff(*layout)
        tried += 1
        try:
            off = np.abs(pixels(data) - expected).mean()
        except ImageError as error:
            refused += "interleaved" in str(error)
            continue
        wrong += off > (3.0 if layout[5] == "jpeg" else 0.0)
    assert tried >= 60
    assert wrong == 0
    # 16-bit grey interleaved with alpha is refused: nobody writes it.
    assert refused == (48 if kind == "grey and alpha" else 0)


def test_big_tiffs_are_read_too() -> None:
    for kind, planar in (("rgb", "contig"), ("rgb", "separate"), ("inverted", "contig")):
        data, expected = tiff(kind, 16, planar, "strips", "<", None, False, big=True)
        np.testing.assert_array_equal(pixels(data), expected)


def test_planes_that_can_not_be_put_together_are_refused_by_name() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.moveaxis(RGB_HWC, -1, 0).astype(np.float32), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError, match="separate planes"):
        photograph(buffer.getvalue(), SPEC)


# --- EXIF -------------------------------------------------------------------------------------------------------------


def exif(entries: list[tuple[int, int, int, bytes]], order: str = "<", extra: bytes = b"") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, len(entries)) + body + struct.pack(order + "I", 0) + extra


def short(value: int, order: str) -> bytes:
    return struct.pack(order + "HH", value, 0)


NEIGHBOURS: dict[str, tuple[int, int, int, bytes]] = {
    "none": (0x010F, 2, 4, b"abc\0"),
    "text as an exposure": (0x829A, 2, 4, b"1/60"),
    "fraction beyond the file": (0x829A, 5, 1, b"\xff\xff\xff\x7f"),
    "negative fraction": (0x9204, 10, 1, b"\xf0\xff\xff\xff"),
    "a billion values": (0x927C, 7, 1_000_000_000, b"\0\0\0\0"),
    "no such type": (0x9000, 99, 4, b"0232"),
    "a directory that leads to itself": (0x8769, 4, 1, b"\x08\0\0\0"),
    "a place for GPS beyond the file": (0x8825, 4, 1, b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_malformed_neighbour_of_the_orientation_changes_nothing(kind: str, turn: int, neighbour: str, order: str) -> None:
    data = exif([NEIGHBOURS[neighbour], (0x0112, 3, 1, short(turn, order))], order)
    assert orientation(data) == turn
    image = Image.fromarray(RGB_HWC)
    how: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 97}, "PNG": {}}[kind]
    file = saved(image, kind, exif=data, **how)
    turned = {
        1: RGB_HWC, 2: RGB_HWC[:, ::-1], 3: RGB_HWC[::-1, ::-1], 4: RGB_HWC[::-1], 5: RGB_HWC.transpose(1, 0, 2),
        6: RGB_HWC[::-1].transpose(1, 0, 2), 7: RGB_HWC[::-1, ::-1].transpose(1, 0, 2), 8: RGB_HWC[:, ::-1].transpose(1, 0, 2),
    }[turn]  # fmt: skip
    assert np.abs(pixels(file) - turned).mean() < 2
    assert np.abs(pixels(scaled_down(file, 200)).shape[0] - round(200 * turned.shape[0] / 256)) <= 1


@pytest.mark.parametrize(
    "data", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"junk", exif([(0x0112, 3, 1, short(9, "<"))])]
)
def test_an_orientation_that_can_not_be_read_is_upright(data: bytes) -> None:
    assert orientation(data) == 1


# --- PNG --------------------------------------------------------------------------------------------------------------


EXTRAS = {
    "text": chunk(b"tEXt", b"Comment\0words"), "text, bad checksum": chunk(b"tEXt", b"Comment\0words", broken=True),
    "text that is no Latin": chunk(b"tEXt", b"\xff\xfe\0\x81"), "packed text of rubbish": chunk(b"zTXt", b"a\0\0rubbish"),
    "packed text of another method": chunk(b"zTXt", b"a\0\x07"), "profile of rubbish": chunk(b"iCCP", b"a\0\0rubbish"),
    "profile, bad checksum": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 200), broken=True),
    "eXIf of rubbish": chunk(b"eXIf", b"rubbish"), "eXIf, bad checksum": chunk(b"eXIf", b"II*\0", broken=True),
    "empty physical size": chunk(b"pHYs", b""), "unknown": chunk(b"abCd", b"?"), "gamma of nothing": chunk(b"gAMA", b""),
    "chroma cut short": chunk(b"cHRM", b"\0" * 5), "two sRGB": chunk(b"sRGB", b"\0") * 2,
    "background": chunk(b"bKGD", b"\0" * 6),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("place", ["before the pixels", "after them"])
def test_extras_of_a_png_never_decide_whether_it_is_read(mode: str, extra: str, place: str) -> None:
    image = Image.fromarray(RGB_HWC).convert(mode)
    data = saved(image, "PNG")
    at = 33 if place.startswith("before") else len(data) - 12
    np.testing.assert_array_equal(pixels(data[:at] + EXTRAS[extra] + data[at:]), np.asarray(image.convert("RGB")))


def test_a_png_whose_pixels_are_damaged_is_refused() -> None:
    data = saved(Image.fromarray(RGB_HWC), "PNG")
    for hurt in (data[:29] + b"\0\0\0\0" + data[33:], data[: len(data) // 2]):
        with pytest.raises(ImageError):
            photograph(hurt, SPEC)


def test_a_plain_png_is_left_as_it_is_and_what_is_none_too() -> None:
    for data in (saved(Image.fromarray(RGB_HWC), "PNG"), b"junk", SIGNATURE, SIGNATURE + b"\xff" * 20):
        assert plain_png(data) is data


# --- what is not read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic" + b"\0" * 60, "HEIC"), (b"\0\0\0\x18ftypavif" + b"\0" * 60, "AVIF"),
        (b"GIF89a" + b"\0" * 60, "GIF"),
        (b"%PDF-1.7" + b"\0" * 60, "PDF"), (b"<html>" + b" " * 60, "HTML"),
    ],
)  # fmt: skip
def test_a_format_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=name):
        photograph(data, SPEC)


# --- scaled down ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "CMYK", "I;16"])
def test_a_photograph_that_was_scaled_down_is_the_same_picture(mode: str) -> None:
    image = Image.fromarray(RGB_HWC).resize((1024, 768), Image.Resampling.BICUBIC)
    if mode in ("RGBA", "LA"):
        image = image.convert("RGBA" if mode == "RGBA" else "L").convert(mode)
        image.putalpha(Image.fromarray((np.indices((768, 1024)).sum(0) % 512 < 256).astype(np.uint8) * 255))
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    data = saved(image, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
    whole = Image.fromarray(pixels(data).astype(np.uint8)).resize((128, 96))
    small = Image.fromarray(pixels(scaled_down(data, 512)).astype(np.uint8)).resize((128, 96))
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(small)).mean() < 3


# --- what was misread once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "like"),
    [
        ("rgb16-separate-planes.tif", "plain.jpg"), ("png-bad-crc-text.png", "plain.jpg"),
        ("exif-6-and-ascii-as-long-exposure.jpg", "exif-orientation-6.jpg"),
        ("exif-6-long-negative.jpg", "exif-orientation-6.jpg"),
    ],
)  # fmt: skip
def test_files_that_were_misread_give_the_photograph_they_were_made_of(cases: Path, file: str, like: str) -> None:
    assert np.abs(pixels((cases / file).read_bytes()) - pixels((cases / like).read_bytes())).mean() < 1.5


def test_what_lies_under_a_transparent_part_is_not_seen_scaled_down_or_not(cases: Path) -> None:
    data = (cases / "white-under-transparent.png").read_bytes()
    assert np.abs(pixels(scaled_down(data, 160)).mean() - pixels(data).mean()) < 3
