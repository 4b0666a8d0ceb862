"""What passes as gradable, and what is refused with which reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bundles import photograph
from PIL import Image, ImageFilter

from foveal_runtime.photo import imaging
from foveal_runtime.photo.imaging import Decode, ImageSpec, Resample
from foveal_runtime.photo.quality import Quality, assess

WHOLE = ImageSpec(decode=Decode.DCT_2X, resample=Resample.BICUBIC)


def picture(**size: int) -> Image.Image:
    return Image.open(io.BytesIO(photograph(2, **size))).convert("RGB")


def verdict(image: Image.Image) -> Quality:
    return assess(image.convert("RGB"))


@pytest.mark.parametrize("width", [200, 640, 2048])
def test_a_fundus_photograph_passes_at_any_size(width: int) -> None:
    assert verdict(picture(width=width, height=width * 3 // 4)) is Quality.GRADABLE


def test_real_photographs_pass(idrid) -> None:
    files = sorted(idrid.rglob("*.jpg"))[::40]
    assert len(files) >= 10
    assert {assess(imaging.photograph(file.read_bytes(), WHOLE)) for file in files} == {Quality.GRADABLE}


def recast(image: Image.Image) -> dict[str, Image.Image]:
    """A photograph as other cameras would give it."""
    width, height = image.size
    small = io.BytesIO()
    image.resize((400, 400 * height // width)).save(small, "JPEG", quality=60)
    pixels_HWC = np.asarray(image, np.float32)
    y, x = np.mgrid[:height, :width] - np.array([height / 2, width / 2])[:, None, None]
    fall = 1 - 0.5 * (x * x + y * y) / (height / 2) ** 2 + 0.3 * x / width

    def of(values: np.ndarray) -> Image.Image:
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))

    return {
        "small file": Image.open(small),
        "soft lens": image.filter(ImageFilter.GaussianBlur(0.5 * width / 384)),
        "pink": of(pixels_HWC * [1.1, 0.8, 1.2]),
        "green": of(pixels_HWC * [0.85, 1.12, 1.0]),
        "raised black": of(pixels_HWC * 0.9 + 22),
        "under-exposed": of(pixels_HWC * 0.55),
        "tilted vignette": of(pixels_HWC * fall.clip(0.1, 1.2)[..., None]),
        "small field": of(pixels_HWC * ((x * x + y * y) < (0.4 * height) ** 2)[..., None]),
        "inside the circle": image.crop((width // 2 - height // 3, height // 6, width // 2 + height // 3, height * 5 // 6)),
    }


def test_real_photographs_pass_as_other_cameras_would_give_them(idrid) -> None:
    for file in sorted(idrid.rglob("*.jpg"))[7::80]:
        for name, image in recast(imaging.photograph(file.read_bytes(), WHOLE)).items():
            assert verdict(image) is Quality.GRADABLE, (file.name, name)


def test_real_photographs_that_are_blurred_are_out_of_focus_at_any_size(idrid) -> None:
    for file in sorted(idrid.rglob("*.jpg"))[7::80]:
        image = imaging.photograph(file.read_bytes(), WHOLE)
        blurred = image.filter(ImageFilter.GaussianBlur(2.5 * image.width / 384))
        smeared = Image.blend(image, image, 0)
        for shift in range(1, 16):  # moved sideways while the shutter was open
            smeared = Image.blend(
                smeared, image.transform(image.size, Image.Transform.AFFINE, (1, 0, shift, 0, 1, 0)), 1 / (shift + 1)
            )
        for width in (1024, 600):
            size = width, width * image.height // image.width
            assert verdict(blurred.resize(size)) is Quality.OUT_OF_FOCUS, file.name
            assert verdict(smeared.resize(size)) is Quality.OUT_OF_FOCUS, file.name


def test_blurred_is_out_of_focus() -> None:
    assert verdict(picture(width=800, height=600).filter(ImageFilter.GaussianBlur(6))) is Quality.OUT_OF_FOCUS


def test_dark_and_black_are_too_dark() -> None:
    assert verdict(Image.eval(picture(), lambda v: v // 10)) is Quality.TOO_DARK
    assert verdict(Image.new("RGB", (400, 300))) is Quality.TOO_DARK


def test_a_cropped_away_field_is_missing() -> None:
    image = picture(width=640, height=480)
    image.paste((0, 0, 0), (300, 0, 640, 480))
    assert verdict(image) is Quality.FIELD_MISSING


@pytest.mark.parametrize("seed", range(3))
def test_noise_grey_scans_and_warm_everyday_pictures_are_no_fundus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    skin = Image.fromarray((np.array([205, 150, 120]) + rng.normal(0, 12, (300, 300, 1))).clip(0, 255).astype(np.uint8))
    for image in (noise, skin, picture().convert("L"), Image.new("RGB", (300, 300), (240, 240, 240))):
        assert verdict(image) is Quality.NOT_FUNDUS
