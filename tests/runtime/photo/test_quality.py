"""What passes as gradable, and what is refused with which reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bundles import photograph
from PIL import Image, ImageDraw, ImageFilter

from foveal_runtime.photo import imaging, quality
from foveal_runtime.photo.imaging import Decode, ImageSpec, Resample
from foveal_runtime.photo.measures import NAMES, measure
from foveal_runtime.photo.quality import Quality, assess, judge

WHOLE = ImageSpec(decode=Decode.DCT_2X, resample=Resample.BICUBIC)


def picture(seed: int = 2, **size: int) -> Image.Image:
    return Image.open(io.BytesIO(photograph(seed, **size))).convert("RGB")


def verdict(image: Image.Image) -> Quality:
    return assess(image.convert("RGB"))


def of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("width", [200, 640, 2048])
def test_a_fundus_photograph_passes_at_any_size(width: int) -> None:
    assert verdict(picture(width=width, height=width * 3 // 4)) is Quality.GRADABLE


@pytest.mark.parametrize("spec", [WHOLE, ImageSpec(), ImageSpec(side_px=288), ImageSpec(side_px=64)], ids=str)
def test_real_photographs_pass_for_every_bundle(idrid, spec: ImageSpec) -> None:
    files = sorted(idrid.rglob("*.jpg"))[::40]
    assert len(files) >= 10
    assert {assess(imaging.photograph(file.read_bytes(), spec)) for file in files} == {Quality.GRADABLE}


def recast(image: Image.Image) -> dict[str, Image.Image]:
    """A photograph as other cameras would give it."""
    width, height = image.size
    small = io.BytesIO()
    image.resize((400, 400 * height // width)).save(small, "JPEG", quality=60)
    pixels_HWC = np.asarray(image, np.float32)
    y, x = np.mgrid[:height, :width] - np.array([height / 2, width / 2])[:, None, None]
    fall = 1 - 0.5 * (x * x + y * y) / (height / 2) ** 2 + 0.3 * x / width
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


def other_eyes(image: Image.Image) -> dict[str, Image.Image]:
    """A photograph as paper, a child's eye or a much pigmented one would give it."""
    pixels_HWC = np.asarray(image, np.float32)
    lit_HW1 = pixels_HWC.max(axis=2, keepdims=True) > 24
    leads = float(np.quantile((pixels_HWC[..., :1] / np.maximum(pixels_HWC[..., 1:2], 1))[lit_HW1], 0.4))
    return {
        "on white ground": of(np.where(lit_HW1, pixels_HWC, 250)),
        "red leads in 60 %": of(pixels_HWC * [1, leads, 1] * min(1.0, 1.7 / leads)),
        "pale": of((0.7 * pixels_HWC + 0.3 * np.array([235, 165, 125])) * lit_HW1),
        "pigmented": of(pixels_HWC * [0.5, 0.55, 0.6]),
    }


def test_pale_and_dark_eyes_casts_and_white_ground_are_fundus_photographs(idrid) -> None:
    for file in sorted(idrid.rglob("*.jpg"))[11::80]:
        for name, image in other_eyes(imaging.photograph(file.read_bytes(), ImageSpec())).items():
            assert verdict(image) is Quality.GRADABLE, (file.name, name)


def test_real_photographs_that_are_blurred_are_out_of_focus_at_any_size(idrid) -> None:
    for file in sorted(idrid.rglob("*.jpg"))[7::80]:
        image = imaging.photograph(file.read_bytes(), WHOLE)
        blurred = image.filter(ImageFilter.GaussianBlur(2.5 * image.width / 384))
        pixels_HWC = np.asarray(image, np.float32)  # moved sideways while the shutter was open, by 3 % of the field
        smeared = of(sum(np.roll(pixels_HWC, shift, axis=1) for shift in range(26)) / 26)
        for width in (1024, 600):
            size = width, width * image.height // image.width
            assert verdict(blurred.resize(size)) is Quality.OUT_OF_FOCUS, file.name
            assert verdict(smeared.resize(size)) is Quality.OUT_OF_FOCUS, file.name


def test_blurred_is_out_of_focus() -> None:
    assert verdict(picture(width=800, height=600).filter(ImageFilter.GaussianBlur(8))) is Quality.OUT_OF_FOCUS


def test_dark_and_black_are_too_dark() -> None:
    assert verdict(Image.eval(picture(), lambda v: v // 10)) is Quality.TOO_DARK
    assert verdict(Image.new("RGB", (400, 300))) is Quality.TOO_DARK


def test_black_is_too_dark_whatever_the_threshold() -> None:
    assert assess(Image.new("RGB", (400, 300)), 1e-6) is Quality.TOO_DARK


def test_a_cropped_away_field_is_missing(idrid) -> None:
    drawn = picture(width=640, height=480)
    real = imaging.photograph(sorted(idrid.rglob("*.jpg"))[3].read_bytes(), ImageSpec())
    for image in (drawn, real):
        image.paste((0, 0, 0), (int(0.47 * image.width), 0, *image.size))
        assert verdict(image) is Quality.FIELD_MISSING


@pytest.mark.parametrize("seed", range(3))
def test_noise_grey_scans_and_warm_everyday_pictures_are_no_fundus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    skin = of(np.array([205, 150, 120]) + rng.normal(0, 12, (300, 300, 1)))
    for image in (noise, skin, picture().convert("L"), Image.new("RGB", (300, 300), (240, 240, 240))):
        assert verdict(image) is Quality.NOT_FUNDUS


def eye(slit: bool) -> Image.Image:
    """From outside: skin, white, iris, pupil and a glint; or dim, with a slit of light across."""
    image = Image.new("RGB", (600, 400), (205, 150, 125))
    draw = ImageDraw.Draw(image)
    draw.ellipse((60, 90, 540, 310), fill=(238, 228, 222))
    draw.ellipse((200, 100, 400, 300), fill=(96, 66, 44))
    draw.ellipse((255, 155, 345, 245), fill=(12, 9, 9))
    draw.ellipse((275, 165, 295, 185), fill=(255, 255, 255))
    image = image.filter(ImageFilter.GaussianBlur(1.5))
    if slit:
        image = Image.eval(image, lambda v: v // 6)
        ImageDraw.Draw(image).rectangle((330, 60, 350, 340), fill=(225, 235, 245))
    return image


@pytest.mark.parametrize("slit", [False, True])
def test_an_eye_from_outside_is_no_fundus(slit: bool) -> None:
    assert verdict(eye(slit)) is not Quality.GRADABLE


def test_the_threshold_decides_and_the_reason_stays() -> None:
    image = picture(width=640, height=480)
    found = judge(image)
    assert 0 < found.gradable < 1
    assert assess(image, found.gradable - 1e-6) is Quality.GRADABLE
    assert assess(image, found.gradable + 1e-6) is found.reason is not Quality.GRADABLE


@pytest.mark.parametrize("size", [(32, 32), (33, 700), (700, 33), (97, 61), (3000, 2000), (8188, 4), (4, 8188), (9000, 1)])
def test_every_size_and_content_has_numbers(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    for image in (Image.new("RGB", size), Image.new("RGB", size, "white"), Image.fromarray(noise), picture().resize(size)):
        features_F = measure(image)
        assert features_F.shape == (len(NAMES),)
        assert np.isfinite(features_F).all()
        assert isinstance(assess(image), Quality)


def test_the_numbers_do_not_change_with_the_size_of_the_photograph(idrid) -> None:
    file = sorted(idrid.rglob("*.jpg"))[20]
    image = imaging.photograph(file.read_bytes(), WHOLE)
    one, other = (measure(image.resize((w, w * image.height // image.width), Image.Resampling.BOX)) for w in (1000, 520))
    coarse = [i for i, name in enumerate(NAMES) if not name.startswith(("octave_0", "falls_0", "peaks", "diagonal", "one_way"))]
    np.testing.assert_allclose(one[coarse], other[coarse], atol=0.25)


def test_the_shipped_check_is_small_and_one_fit() -> None:
    assert quality._FILE.stat().st_size < 100_000
    check = quality.shipped_check()
    assert 0 < check.min_gradable < 1
    assert np.allclose(check.probabilities(check.mean_F).sum(), 1, atol=1e-5)
