"""What passes as gradable, and what is refused with which reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bundles import photograph
from PIL import Image, ImageFilter

from foveal_runtime.imaging import ImageSpec, decode
from foveal_runtime.quality import Quality, assess


def picture(**size: int) -> Image.Image:
    return Image.open(io.BytesIO(photograph(2, **size))).convert("RGB")


def verdict(image: Image.Image) -> Quality:
    return assess(np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("width", [200, 640, 2048])
def test_a_fundus_photograph_passes_at_any_size(width: int) -> None:
    assert verdict(picture(width=width, height=width * 3 // 4)) is Quality.GRADABLE


def test_real_photographs_pass(idrid) -> None:
    files = sorted(idrid.rglob("*.jpg"))[::40]
    assert len(files) >= 10
    assert {assess(decode(file.read_bytes(), ImageSpec())) for file in files} == {Quality.GRADABLE}


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
