"""Photographs of every kind to the same pixels, or refused with a reason."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from bundles import photograph as jpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import chunk, saved
from PIL import Image

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.header import peek_pixels
from foveal_runtime.photo.imaging import (
    Crop,
    Decode,
    ImageLimits,
    ImageSpec,
    Resample,
    decode,
    field_box,
    load_square,
    photograph,
    square,
)
from foveal_runtime.photo.raw import pack_raw

SPEC = ImageSpec(side_px=64)


@pytest.fixture(scope="module")
def rgb() -> Image.Image:
    return Image.open(io.BytesIO(jpeg(2))).convert("RGB")


def sixteen_bit_rgb_png(rgb_HWC: np.ndarray) -> bytes:
    """Pillow can't write one."""
    height, width = rgb_HWC.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb_HWC.astype(np.uint16) * 257)

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_lossless_files_of_every_kind_give_the_same_pixels(rgb: Image.Image) -> None:
    expected = np.asarray(rgb)
    files = {
        "png": saved(rgb, "PNG"),
        "png, 16 bit": sixteen_bit_rgb_png(expected),
        "tiff": saved(rgb, "TIFF"),
        "tiff, lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "webp": saved(rgb, "WEBP", lossless=True),
        "png, opaque alpha": saved(rgb.convert("RGBA"), "PNG"),
        "raw": pack_raw(expected.tobytes(), *rgb.size, "uint8"),
        "raw, 16 bit": pack_raw((expected.astype("<u2") * 257).tobytes(), *rgb.size, "uint16"),
        "raw, float": pack_raw((expected / np.float32(255)).astype("<f4").tobytes(), *rgb.size, "float32"),
    }
    for name, data in files.items():
        np.testing.assert_array_equal(decode(data, SPEC), expected, err_msg=name)
        assert peek_pixels(data) == 320 * 240, name


def test_grey_of_every_depth_gives_the_same_pixels(rgb: Image.Image) -> None:
    grey = rgb.convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for data in (
        saved(grey, "PNG"),
        saved(deep, "PNG"),
        saved(deep, "TIFF"),
        saved(grey.convert("LA"), "PNG"),
        saved(grey, "TIFF"),
    ):
        np.testing.assert_array_equal(decode(data, SPEC), expected)


def test_palettes_cmyk_and_transparency_become_rgb(rgb: Image.Image) -> None:
    palette = rgb.quantize(256)
    np.testing.assert_array_equal(decode(saved(palette, "PNG"), SPEC), np.asarray(palette.convert("RGB")))
    cmyk = decode(saved(rgb.convert("CMYK"), "JPEG", quality=95), SPEC)
    assert np.abs(cmyk.astype(int) - np.asarray(rgb)).mean() < 6
    half = rgb.copy()
    half.putalpha(0)
    assert not decode(saved(half, "PNG"), SPEC).any(), "what is transparent is camera black"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(rgb: Image.Image, orientation: int) -> None:
    # The same scene stored in each of EXIF's eight ways.
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = rgb if orientation == 1 else rgb.transpose(Image.Transpose(turn[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(saved(stored, "PNG", exif=exif), SPEC), np.asarray(rgb))


def refusals(rgb: Image.Image) -> dict[str, tuple[bytes, str]]:
    other = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    several = {"save_all": True, "append_images": [other]}
    tall = struct.pack(">II", 60_000, 60_000)
    bomb = saved(rgb, "PNG")
    bomb = bomb[:16] + tall + bomb[24:29] + struct.pack(">I", zlib.crc32(bomb[12:16] + tall + bomb[24:29])) + bomb[33:]
    return {
        "animated PNG": (saved(rgb, "PNG", **several), "2 frames"),
        "animated WebP": (saved(rgb, "WEBP", **several), "2 frames"),
        "TIFF of two pages": (saved(rgb, "TIFF", **several), "2 frames"),
        "GIF": (saved(rgb, "GIF", **several), "GIF, which this runtime does not read"),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which this runtime does not read"),
        "PNG bomb": (bomb, "over the limit"),
        "floating-point TIFF": (saved(Image.fromarray(np.ones((64, 64), np.float32)), "TIFF"), "floating-point"),
        "truncated JPEG": (jpeg(2)[:2000], "truncated"),
        "truncated PNG": (saved(rgb, "PNG")[:2000], "truncated"),
        "truncated WebP": (saved(rgb, "WEBP")[:1000], "image"),
        "31 pixels": (saved(rgb.resize((31, 400)), "PNG"), "at least 32 px"),
        "no bytes": (b"", "no photograph this runtime reads"),
        "cut raw": (pack_raw(bytes(64 * 64 * 3), 64, 64, "uint8")[:20], "damaged"),
        "lying raw": (pack_raw(bytes(64 * 64 * 3), 64, 64, "uint8")[:-1], "damaged"),
    }


def test_what_is_no_single_photograph_is_refused_with_a_reason(rgb: Image.Image) -> None:
    for name, (data, words) in refusals(rgb).items():
        with pytest.raises(ImageError, match=words) as caught:
            photograph(data, SPEC, ImageLimits())
        assert caught.value.field.startswith("image"), name


@given(
    size=st.tuples(st.integers(32, 900), st.integers(32, 900)),
    margins=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    density=st.floats(0, 0.2),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_the_field_of_view_is_found_on_every_step_th_pixel(
    size: tuple[int, int], margins: tuple[int, int], density: float, seed: int
) -> None:
    height, width = size
    rng = np.random.default_rng(seed)
    rgb_HWC = (rng.integers(0, 256, (height, width, 3)) * (rng.random((height, width, 1)) < density)).astype(np.uint8)
    rgb_HWC[: margins[0]] = 0
    rgb_HWC[:, : margins[1]] = 0
    step = max(1, max(size) // 256)
    lit_HW = rgb_HWC[::step, ::step].max(axis=2) > 18
    columns, rows = np.flatnonzero(lit_HW.mean(axis=0) > 0.02), np.flatnonzero(lit_HW.mean(axis=1) > 0.02)
    if columns.size < 8 or rows.size < 8:
        box = (0, 0, width, height)
    else:
        box = (columns[0] * step, rows[0] * step, min((columns[-1] + 1) * step, width), min((rows[-1] + 1) * step, height))
    side, x, y = max(box[2] - box[0], box[3] - box[1]), (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    assert field_box(Image.fromarray(rgb_HWC)) == (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def test_the_whole_photograph_is_squeezed_where_no_crop_is_asked_for(rgb: Image.Image) -> None:
    spec = ImageSpec(side_px=64, crop=Crop.NONE)
    np.testing.assert_array_equal(square(rgb, spec), np.asarray(rgb.resize((64, 64), Image.Resampling.BICUBIC)))


def camera(width: int, height: int, field: float = 0.95) -> Image.Image:
    """A drawn photograph whose field of view is that share of its shorter side."""
    drawn = Image.open(io.BytesIO(jpeg(3, width=1200, height=1200))).convert("RGB")
    left, top, right, bottom = (round(v) for v in field_box(drawn))
    side = round(field * min(width, height))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(drawn.crop((left, top, right, bottom)).resize((side, side)), ((width - side) // 2, (height - side) // 2))
    return canvas


@pytest.mark.parametrize(
    ("width", "height", "field", "divided_by"),
    [
        (600, 480, 0.95, 1),
        (1024, 680, 0.95, 2),
        (2048, 1536, 0.95, 4),
        (2048, 1536, 0.6, 2),
        (4400, 2900, 0.95, 8),
        (400, 300, 0.9, 1),
    ],
)
def test_a_photograph_is_halved_as_long_as_its_field_stays_as_wide_as_the_side(
    width: int, height: int, field: float, divided_by: int
) -> None:
    spec = ImageSpec(side_px=288)
    picture = camera(width, height, field)
    for data in (saved(picture, "JPEG", quality=95), saved(picture, "PNG", compress_level=1), raw_of(picture)):
        found = photograph(data, spec)
        assert found.size == (-(-width // divided_by), -(-height // divided_by))
        left, _, right, _ = field_box(found)
        assert right - left >= 288 or divided_by == 1


def raw_of(picture: Image.Image) -> bytes:
    return pack_raw(np.asarray(picture).tobytes(), *picture.size, "uint8")


def test_a_jpeg_halved_while_it_is_decoded_gives_what_a_lossless_file_gives() -> None:
    spec = ImageSpec(side_px=288)
    for width, height in ((1024, 680), (2048, 1536)):
        picture = camera(width, height)
        lossy = load_square(saved(picture, "JPEG", quality=97), spec).astype(int)
        exact = load_square(saved(picture, "PNG"), spec).astype(int)
        assert np.abs(lossy - exact).mean() < 1.5


def test_halving_first_changes_a_square_by_little(idrid) -> None:
    """What a model trained on whole photographs would make of the difference: docs/results.md."""
    before = ImageSpec(side_px=288, decode=Decode.DCT_2X, resample=Resample.BICUBIC)
    for file in sorted(idrid.rglob("*.jpg"))[::100]:
        data = file.read_bytes()
        squares = [load_square(data, spec).astype(int) for spec in (before, ImageSpec(side_px=288))]
        assert np.abs(squares[0] - squares[1]).mean() < 4


def test_older_bundles_are_served_the_pixels_they_were_trained_on(rgb: Image.Image) -> None:
    spec = ImageSpec(side_px=64, decode=Decode.DCT_2X, resample=Resample.BICUBIC)
    data = saved(camera(1024, 680), "JPEG", quality=95)
    assert photograph(data, spec).size == (256, 170)
    assert photograph(saved(camera(1024, 680), "PNG"), spec).size == (1024, 680)


def test_a_way_to_resample_that_this_runtime_does_not_know_is_refused() -> None:
    with pytest.raises(ImageError, match="this runtime knows"):
        ImageSpec(decode=Decode.DCT_FIELD, resample=Resample.BICUBIC)
