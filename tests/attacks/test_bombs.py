"""Files that are small to send and dear to read: refused by their structure at once, or decoded in bounded memory."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path

import numpy as np
import pytest
from bundles import photograph as drawn
from dicoms import dicom
from pictures import saved
from PIL import Image

from attacks.bombs import BOMBS, Bomb, scans, segment
from foveal_runtime.errors import ImageError
from foveal_runtime.photo.dicom import is_dicom, read_dicom
from foveal_runtime.photo.header import peek_pixels
from foveal_runtime.photo.imaging import ImageLimits, ImageSpec, photograph
from foveal_runtime.photo.structure import check_structure, content_sha256

pytest.importorskip("pydicom")

AT_ONCE_S = 1.0
"""Processor time of a refusal; 0.05 on an idle machine."""
LARGE = {
    "jpeg-100-megapixels-cmyk-progressive", "png-rgba-98-megapixels-turned", "tiff-int32-one-strip", "tiff-float-98-megapixels",
    "dicom-jpeg-2000-grey-98-megapixels", "dicom-jpeg-2000-rgb-36-megapixels",
}  # fmt: skip
"""What takes seconds to draw; of that kind jpeg-100-megapixels-progressive-turned is always tried."""
REFUSED = [bomb for bomb in BOMBS if bomb.refused]


def read(data: bytes) -> None:
    """As a worker does."""
    if is_dicom(data):
        read_dicom(data, ImageLimits())
    else:
        photograph(data, ImageSpec())


def test_there_are_enough_of_them() -> None:
    assert len({bomb.name for bomb in BOMBS}) == len(BOMBS) >= 60


@pytest.mark.parametrize(
    "bomb", [pytest.param(bomb, id=bomb.name, marks=[pytest.mark.slow] if bomb.name in LARGE else []) for bomb in REFUSED]
)
def test_what_no_photograph_is_like_is_refused_at_once(bomb: Bomb) -> None:
    data = bomb.data
    began = time.thread_time()
    peek_pixels(data)
    with pytest.raises(ImageError):
        read(data)
    content_sha256(data)
    assert time.thread_time() - began < AT_ONCE_S


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jpeg-5000-scans", "png-4-million-empty-idat"])
def test_without_the_walk_the_decoder_is_at_it_for_long(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the guard is what refuses."""
    from foveal_runtime.photo import opening
    from foveal_runtime.photo.walk import Structure

    monkeypatch.setattr(opening, "check_structure", lambda data: Structure(decoded_bytes=0, content=()))
    data = next(bomb for bomb in BOMBS if bomb.name == name).data
    began = time.thread_time()
    with contextlib.suppress(ImageError):
        read(data)
    assert time.thread_time() - began > AT_ONCE_S


def usual() -> dict[str, bytes]:
    """Files that cameras and programs write, beside plain ones."""
    from PIL import TiffImagePlugin
    from PIL.PngImagePlugin import PngInfo

    image = Image.open(io.BytesIO(drawn(2))).convert("RGB")
    texts = PngInfo()
    for i in range(20):
        texts.add_text(f"key {i}", "value " * 1000, zip=i % 2 == 0)
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2()
    thumbnail[254] = 1
    jpeg = saved(image, "JPEG")
    return {
        "progressive": saved(image, "JPEG", progressive=True),
        "20 segments": jpeg[:2] + b"".join(segment(0xE0 + i % 16, b"maker" * 1000) for i in range(20)) + jpeg[2:],
        "MPO": saved(image, "MPO", save_all=True, append_images=[image]),
        "texts": saved(image, "PNG", pnginfo=texts),
        "deflated strips": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg strips": saved(image, "TIFF", compression="jpeg"),
        "big": saved(image, "TIFF", big_tiff=True),
        "thumbnail": saved(image, "TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
        "WebP": saved(image, "WEBP"),
        "DICOM": dicom(np.asarray(image)),
    }


@pytest.mark.parametrize("name", [name for name in usual() if name != "thumbnail"])
def test_what_cameras_write_is_read(name: str) -> None:
    read(usual()[name])


def test_a_thumbnail_beside_the_photograph_is_no_second_one() -> None:
    data = bytearray(usual()["thumbnail"])
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    second = int.from_bytes(data[first + 2 + 12 * entries :][:4], "little")
    with pytest.raises(ImageError, match="2 frames"):
        read(bytes(data))
    # Its first tag, the width, becomes a subfile type of 1; Pillow reads the first directory alone.
    data[second + 2 : second + 14] = (254).to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") * 2
    read(bytes(data))


def test_every_photograph_at_hand_passes_the_walk(idrid: Path) -> None:
    files = sorted(idrid.rglob("*.jpg"))[::20]
    assert files
    for file in files:
        structure = check_structure(file.read_bytes())
        assert 0 < structure.decoded_bytes < ImageLimits().max_decoded_bytes
        assert structure.content


@pytest.mark.parametrize("name", [name for name in usual() if name != "20 segments"])
def test_what_follows_the_picture_makes_no_other_content(name: str) -> None:
    data = usual()[name]
    assert content_sha256(data) == content_sha256(data + b"another caller") or name == "DICOM"
    assert content_sha256(data) != content_sha256(drawn(7))


def test_a_comment_makes_no_other_content() -> None:
    data = scans(2, 64, 64)
    assert content_sha256(data) == content_sha256(data[:2] + segment(0xFE, b"again") + data[2:])


@pytest.mark.parametrize("mode", ["RGBA", "I", "I;16"])
def test_conversion_holds_two_pictures_and_no_third(mode: str) -> None:
    import tracemalloc

    from foveal_runtime.photo.colour import to_rgb

    picture = Image.new(mode, (4000, 4000))
    tracemalloc.start()  # NumPy's arrays; Pillow's own memory is measured in docs/decisions.md
    to_rgb(picture)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20, "an array of the whole picture would be 128 MB"
