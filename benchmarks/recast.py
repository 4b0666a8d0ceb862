"""A fundus photograph as other cameras, eyes and clinics would give it: what must pass. No evidence of any device.

Each kind takes an RGB photograph and a generator of random numbers; every strength is drawn, so that no two are alike.
Lengths are in units of 1/384 of the photograph's long side.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from cameras import CAMERAS, Camera, through_camera
from foveal_runtime.photo.imaging import field_box

Picture = Image.Image
Rng = np.random.Generator
Kind = Callable[[Picture, Rng], Picture]
Pixels = npt.NDArray[np.floating[Any]]


def picture_of(values_HWC: npt.NDArray[np.floating]) -> Picture:
    """Pixels, 0 to 255, as a picture."""
    return Image.fromarray(values_HWC.clip(0, 255).astype(np.uint8))


def pixels_of(photo: Picture) -> Pixels:
    """A picture's pixels, 0 to 255."""
    return np.asarray(photo, np.float32)


def unit_px(photo: Picture) -> float:
    """The unit of lengths."""
    return max(photo.size) / 384


def distances(photo: Picture) -> tuple[Pixels, Pixels, Pixels]:
    """Across, down and straight from the middle of the field of view, in its radii."""
    left, top, right, bottom = field_box(photo)
    y, x = np.mgrid[: photo.height, : photo.width].astype(np.float32)
    x, y = (x - (left + right) / 2) * (2 / (right - left)), (y - (top + bottom) / 2) * (2 / (right - left))
    return x, y, np.sqrt(x * x + y * y)


def as_jpeg(photo: Picture, *, width: int, quality: int) -> Picture:
    """As a JPEG of that width would come back."""
    buffer = io.BytesIO()
    size = width, max(1, photo.height * width // photo.width)
    photo.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def window(photo: Picture, across: float, down: float) -> Picture:
    """The middle of the field, cut out that far from its centre, in radii."""
    left, top, right, bottom = field_box(photo)
    middle_x, middle_y, radius = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    box = middle_x - across * radius, middle_y - down * radius, middle_x + across * radius, middle_y + down * radius
    return photo.crop((max(0, int(box[0])), max(0, int(box[1])), min(photo.width, int(box[2])), min(photo.height, int(box[3]))))


def _small(photo: Picture, rng: Rng) -> Picture:
    return as_jpeg(photo, width=int(rng.integers(320, 640)), quality=int(rng.integers(50, 90)))


def _tiny(photo: Picture, rng: Rng) -> Picture:
    return as_jpeg(photo, width=int(rng.integers(180, 320)), quality=int(rng.integers(75, 95)))


def _soft(photo: Picture, rng: Rng) -> Picture:
    return photo.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9)) * unit_px(photo)))


def _cast(low: tuple[float, float, float], high: tuple[float, float, float], photo: Picture, rng: Rng) -> Picture:
    return picture_of(pixels_of(photo) * rng.uniform(low, high).astype(np.float32))


def _any_cast(photo: Picture, rng: Rng) -> Picture:
    gains = np.array([1.0, np.exp(rng.uniform(-0.4, 0.7)), np.exp(rng.uniform(-0.6, 1.6))], np.float32)
    return picture_of(pixels_of(photo) * gains / np.float32(max(1.0, gains[1])))


def _green_leads(photo: Picture, rng: Rng) -> Picture:
    """A cast under which red leads green in no more than a drawn share of the field, 0.5 to 0.85."""
    pixels = pixels_of(photo)
    field = pixels[pixels.max(axis=2) > 24]
    ratio = float(np.quantile(field[:, 0] / np.maximum(field[:, 1], 1), 1 - rng.uniform(0.5, 0.85)))
    return picture_of(pixels * np.array([1, ratio, 1], np.float32) * np.float32(min(1.0, 1.7 / ratio)))


def _blue_leads(photo: Picture, rng: Rng) -> Picture:
    """The same with blue, of a sensor that sees some green in its blue."""
    pixels = pixels_of(photo).copy()
    pixels[..., 2] += np.float32(0.3) * pixels[..., 1]
    field = pixels[pixels.max(axis=2) > 24]
    ratio = float(np.quantile(field[:, 0] / np.maximum(field[:, 2], 1), 1 - rng.uniform(0.6, 0.9)))
    return picture_of(pixels * np.array([1, 1.1, ratio], np.float32))


def _balanced(photo: Picture, rng: Rng) -> Picture:
    """White balance that takes most of the retina's colour away."""
    pixels = pixels_of(photo)
    means = pixels[pixels.max(axis=2) > 24].mean(axis=0)
    return picture_of(pixels * (means.mean() / means) ** np.float32(rng.uniform(0.3, 0.75)))


def _less_saturated(photo: Picture, rng: Rng) -> Picture:
    kept, pixels = rng.uniform(0.45, 0.8), pixels_of(photo)
    return picture_of(kept * pixels + (1 - kept) * pixels.mean(axis=2, keepdims=True))


def _gamma(photo: Picture, rng: Rng) -> Picture:
    return picture_of(255 * (pixels_of(photo) / 255) ** np.exp(rng.uniform(np.log(0.65), np.log(1.6))))


def _raised_black(photo: Picture, rng: Rng) -> Picture:
    black = rng.uniform(8, 28)
    return picture_of(pixels_of(photo) * (1 - black / 255) + black)


def _exposure(photo: Picture, rng: Rng) -> Picture:
    return picture_of(pixels_of(photo) * np.exp(rng.uniform(np.log(0.5), np.log(1.4))))


def _noise(photo: Picture, rng: Rng) -> Picture:
    pixels = pixels_of(photo)
    return picture_of(pixels + rng.normal(0, rng.uniform(3, 9), pixels.shape))


def _vignette(photo: Picture, rng: Rng) -> Picture:
    fall = 1 - rng.uniform(0.3, 0.65) * distances(photo)[2] ** 2
    return picture_of(pixels_of(photo) * fall.clip(0.1, 1)[..., None])


def _tilted(photo: Picture, rng: Rng) -> Picture:
    x, y, _ = distances(photo)
    angle = rng.random() * 2 * np.pi
    light = 0.75 + rng.uniform(0.2, 0.4) * (x * np.cos(angle) + y * np.sin(angle))
    return picture_of(pixels_of(photo) * light.clip(0.2, 1.3)[..., None])


def _smaller_field(photo: Picture, rng: Rng) -> Picture:
    return picture_of(pixels_of(photo) * (distances(photo)[2] < rng.uniform(0.65, 0.9))[..., None])


def _small_in_frame(photo: Picture, rng: Rng) -> Picture:
    """The field of view small in a black photograph, off its middle."""
    share = rng.uniform(0.45, 0.8)
    small = photo.resize((int(photo.width * share), int(photo.height * share)), Image.Resampling.BOX)
    frame = Image.new("RGB", photo.size)
    left, top = (int(rng.uniform(0, a - b)) for a, b in zip(photo.size, small.size, strict=True))
    frame.paste(small, (left, top))
    return frame


def _circle(photo: Picture, rng: Rng) -> Picture:
    return window(photo, 1.0, float(rng.uniform(0.75, 1.0)))


def _four_to_three(photo: Picture, rng: Rng) -> Picture:
    wide = float(rng.uniform(0.78, 0.92))
    return window(photo, wide, 0.75 * wide)


def _inside(photo: Picture, rng: Rng) -> Picture:
    half = float(rng.uniform(0.55, 0.68))
    return window(photo, half, half)


def _turned(photo: Picture, rng: Rng) -> Picture:
    return photo.rotate(float(rng.uniform(-35, 35)), Image.Resampling.BICUBIC)


def _stamped(photo: Picture, rng: Rng) -> Picture:
    stamped = photo.copy()
    draw, size = ImageDraw.Draw(stamped), int(rng.uniform(14, 30) * photo.width / 1024)
    draw.text((10, 10), "OD 45 deg 12:33", fill="white", font_size=size)
    draw.text((photo.width * 5 // 6, photo.height - 2 * size), "clinic 7", fill=(0, 255, 0), font_size=size)
    return stamped


def _notched(photo: Picture, rng: Rng) -> Picture:
    """The mark that tells which side is up."""
    x, y, far = distances(photo)
    angle, size = rng.uniform(-np.pi, np.pi), rng.uniform(0.04, 0.1)
    mark = (np.abs(x - np.cos(angle)) < size) & (np.abs(y - np.sin(angle)) < size)
    return picture_of(
        np.where((mark & (far > 1 - 2 * size))[..., None], np.float32(0 if rng.random() < 0.5 else 200), pixels_of(photo))
    )


def _on_ground(low: int, high: int, photo: Picture, rng: Rng) -> Picture:
    """Cut out and put on paper."""
    far = distances(photo)[2]
    pixels, level = pixels_of(photo), rng.uniform(low, high)
    inside = ((1 - far) * rng.uniform(20, 200) + 0.5).clip(0, 1)[..., None] * (pixels.max(axis=2, keepdims=True) > 12)
    ground = level + rng.normal(0, rng.uniform(0, 2), pixels.shape)
    made = picture_of(pixels * inside + ground * (1 - inside))
    if rng.random() < 0.5:
        return made
    margin = int(rng.uniform(0.02, 0.2) * photo.height)
    framed = Image.new("RGB", (photo.width, photo.height + 2 * margin), (int(level),) * 3)
    framed.paste(made, (0, margin))
    return framed


def _pale(photo: Picture, rng: Rng) -> Picture:
    """Little pigment: light, flat, pink to yellow."""
    pixels, far = pixels_of(photo), distances(photo)[2]
    tint = np.array([rng.uniform(215, 250), rng.uniform(140, 200), rng.uniform(90, 170)], np.float32)
    share = np.float32(rng.uniform(0.25, 0.5))
    lit = (pixels.max(axis=2) > 18)[..., None] * (1.02 - 0.15 * far**2).clip(0, 1)[..., None]
    return picture_of((255 * (pixels / 255) ** np.float32(rng.uniform(0.65, 0.9)) * (1 - share) + share * tint) * lit)


def _pigmented(photo: Picture, rng: Rng) -> Picture:
    """Much pigment: brown, dark."""
    gains = np.array([rng.uniform(0.4, 0.65), rng.uniform(0.45, 0.75), rng.uniform(0.4, 1.0)], np.float32)
    return picture_of(255 * (pixels_of(photo) / 255) ** np.float32(rng.uniform(0.85, 1.1)) * gains)


def _child(photo: Picture, rng: Rng) -> Picture:
    """The young retina's sheen: whitish, greenish reflexes in bands about the macula and along the vessels."""
    x, y, far = distances(photo)
    pixels = pixels_of(photo)
    sheen = np.zeros(far.shape, np.float32)
    for _ in range(int(rng.integers(2, 6))):
        cx, cy, radius = rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.5)
        ring = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - radius
        part = (np.arctan2(y - cy, x - cx) - rng.uniform(-np.pi, np.pi)) % (2 * np.pi) < rng.uniform(1, 4)
        sheen += np.exp(-((ring / rng.uniform(0.02, 0.08)) ** 2)) * part
    grains = rng.normal(0, 1, (24, 24)).astype(np.float32)
    patches = np.asarray(Image.fromarray(grains).resize(photo.size, Image.Resampling.BICUBIC)).clip(0, 1)
    veil = np.array([60, 75, 60], np.float32) * np.float32(rng.uniform(0.3, 1.0))
    lit = (pixels.max(axis=2) > 18)[..., None]
    return picture_of((pixels + (sheen + 0.5 * patches).clip(0, 1.5)[..., None] * veil) * lit)


def _hazy(photo: Picture, rng: Rng) -> Picture:
    """A beginning cataract."""
    pixels, share = pixels_of(photo), rng.uniform(0.1, 0.3)
    glow = pixels_of(photo.filter(ImageFilter.BoxBlur(20 * unit_px(photo))))
    return picture_of(pixels * (1 - share) + share * (0.7 * glow + 40 * (pixels.max(axis=2, keepdims=True) > 18)))


def _sharpened(photo: Picture, rng: Rng) -> Picture:
    sharpen = ImageFilter.UnsharpMask(radius=float(rng.uniform(1, 3)) * unit_px(photo), percent=int(rng.uniform(60, 200)))
    return photo.filter(sharpen)


def _mirrored(photo: Picture, rng: Rng) -> Picture:
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT if rng.random() < 0.5 else Image.Transpose.FLIP_TOP_BOTTOM)


def _camera(camera: Camera, photo: Picture, rng: Rng) -> Picture:
    return through_camera(photo, camera, seed=int(rng.integers(1 << 31)))


RECAST: dict[str, tuple[str, Kind]] = {
    "small file": ("focus", _small),
    "tiny file": ("focus", _tiny),
    "soft lens": ("focus", _soft),
    "cast: warm": ("colour", partial(_cast, (1.0, 0.8, 0.5), (1.25, 1.0, 0.8))),
    "cast: green": ("colour", partial(_cast, (0.8, 1.05, 0.8), (0.95, 1.25, 1.1))),
    "cast: blue": ("colour", partial(_cast, (0.8, 0.9, 1.3), (0.95, 1.1, 1.8))),
    "cast: pink": ("colour", partial(_cast, (1.0, 0.7, 1.1), (1.2, 0.9, 1.5))),
    "cast: pale": ("colour", partial(_cast, (0.9, 1.0, 1.15), (1.0, 1.2, 1.5))),
    "cast: any": ("colour", _any_cast),
    "green leads in places": ("colour", _green_leads),
    "blue leads in places": ("colour", _blue_leads),
    "white balanced": ("colour", _balanced),
    "less saturated": ("colour", _less_saturated),
    "gamma": ("light", _gamma),
    "raised black": ("light", _raised_black),
    "exposure": ("light", _exposure),
    "noise": ("focus", _noise),
    "vignette": ("light", _vignette),
    "tilted light": ("light", _tilted),
    "smaller field": ("field", _smaller_field),
    "small in its frame": ("field", _small_in_frame),
    "cut to the circle": ("field", _circle),
    "cut to 4:3": ("field", _four_to_three),
    "cut inside the circle": ("field", _inside),
    "turned": ("field", _turned),
    "stamped": ("field", _stamped),
    "notched": ("field", _notched),
    "on white ground": ("field", partial(_on_ground, 235, 256)),
    "on grey ground": ("field", partial(_on_ground, 110, 235)),
    "pale fundus": ("colour", _pale),
    "pigmented fundus": ("light", _pigmented),
    "child's sheen": ("focus", _child),
    "hazy": ("focus", _hazy),
    "sharpened": ("focus", _sharpened),
    "mirrored": ("field", _mirrored),
    **{f"camera: {camera.name}": ("camera", partial(_camera, camera)) for camera in CAMERAS},
}
"""By name: which aspect of the photograph it changes, and how. Two of different aspects may be joined."""
