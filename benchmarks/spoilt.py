"""A good fundus photograph spoilt: what must be refused, each kind with the reason. Simulations.

Each kind takes an RGB photograph and a generator of random numbers; every strength is drawn. Lengths are in units of 1/384 of
the photograph's long side.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from foveal_runtime.photo.quality import Quality
from recast import Kind, Picture, Pixels, Rng, as_jpeg, distances, picture_of, pixels_of, unit_px


def _gaussian(low: float, high: float, photo: Picture, rng: Rng) -> Picture:
    return photo.filter(ImageFilter.GaussianBlur(float(np.exp(rng.uniform(np.log(low), np.log(high)))) * unit_px(photo)))


def _shifted_mean(pixels: Pixels, shifts: list[tuple[int, int]]) -> Pixels:
    total = np.zeros_like(pixels)
    for x, y in shifts:
        total += np.roll(pixels, (y, x), axis=(0, 1))
    return total / np.float32(len(shifts))


def _defocus(photo: Picture, rng: Rng) -> Picture:
    """A disc, as an open lens spreads a point."""
    radius = rng.uniform(3, 8) * unit_px(photo)
    r, angle = radius * np.sqrt((np.arange(40) + 0.5) / 40), np.arange(40) * 2.399963  # sunflower
    return picture_of(
        _shifted_mean(
            pixels_of(photo), [(round(a), round(b)) for a, b in zip(r * np.cos(angle), r * np.sin(angle), strict=True)]
        )
    )


def _motion(photo: Picture, rng: Rng) -> Picture:
    length, angle = rng.uniform(6, 18) * unit_px(photo), rng.uniform(0, np.pi)
    if rng.random() < 0.4:  # straight across or down leaves the other direction wholly sharp, and is hardest to see
        angle = np.pi / 2 * rng.integers(2)
    steps = np.linspace(-0.5, 0.5, max(8, int(length))) * length
    return picture_of(_shifted_mean(pixels_of(photo), [(round(s * np.cos(angle)), round(s * np.sin(angle))) for s in steps]))


def _shaken(photo: Picture, rng: Rng) -> Picture:
    """A random walk of the hand."""
    walk = np.cumsum(rng.normal(0, 1, (48, 2)), axis=0)
    walk *= rng.uniform(2.5, 5) * unit_px(photo) / walk.std()
    return picture_of(_shifted_mean(pixels_of(photo), [(round(x), round(y)) for x, y in walk - walk.mean(axis=0)]))


def _blurred_small(photo: Picture, rng: Rng) -> Picture:
    return as_jpeg(_gaussian(2.0, 6.0, photo, rng), width=int(rng.integers(400, 640)), quality=int(rng.integers(60, 90)))


def _blurred_noisy(photo: Picture, rng: Rng) -> Picture:
    pixels = pixels_of(_gaussian(2.5, 7.0, photo, rng))
    return picture_of(pixels + rng.normal(0, rng.uniform(2, 9), pixels.shape))


def _blurred_sharpened(photo: Picture, rng: Rng) -> Picture:
    """What editing can't bring back."""
    sharpen = ImageFilter.UnsharpMask(radius=float(rng.uniform(1, 3)) * unit_px(photo), percent=int(rng.uniform(80, 200)))
    return _gaussian(3.0, 8.0, photo, rng).filter(sharpen)


def _pixelated(photo: Picture, rng: Rng) -> Picture:
    width = int(rng.integers(36, 80))
    way = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    return photo.resize((width, photo.height * width // photo.width), Image.Resampling.BOX).resize(photo.size, way)


def _crushed(photo: Picture, rng: Rng) -> Picture:
    """JPEG of the lowest quality: blocks instead of vessels."""
    return as_jpeg(photo, width=int(rng.integers(160, 300)), quality=int(rng.integers(1, 4)))


def _cataract(photo: Picture, rng: Rng) -> Picture:
    """Fog through which no small vessel is seen."""
    lit = pixels_of(photo).max(axis=2, keepdims=True) > 18
    glow = pixels_of(_gaussian(4.0, 8.0, photo, rng))
    share = rng.uniform(0.55, 0.8)
    return picture_of((glow * (1 - share) + share * np.array([165, 130, 95])) * lit)


def _fogged(photo: Picture, rng: Rng) -> Picture:
    """A breath on the lens: flat, milky, the vessels' contrast gone."""
    pixels = pixels_of(photo.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.5, 3)) * unit_px(photo))))
    share = rng.uniform(0.75, 0.9)
    return picture_of(pixels * (1 - share) + share * rng.uniform(120, 200))


def _dark(photo: Picture, rng: Rng) -> Picture:
    return picture_of(pixels_of(photo) * rng.uniform(0.05, 0.15))


def _dark_gamma(photo: Picture, rng: Rng) -> Picture:
    return picture_of(255 * (pixels_of(photo) / 255) ** rng.uniform(4, 6) * 0.7)


def _dark_noisy(photo: Picture, rng: Rng) -> Picture:
    pixels = pixels_of(photo)
    return picture_of(pixels * rng.uniform(0.06, 0.13) + rng.normal(0, rng.uniform(2, 7), pixels.shape))


def _dark_lifted(photo: Picture, rng: Rng) -> Picture:
    """Dark, and brightened by software: few levels and much noise are left."""
    pixels = pixels_of(photo)
    few = np.floor(pixels * rng.uniform(0.012, 0.03) + rng.normal(0, rng.uniform(0.8, 1.5), pixels.shape)).clip(0)
    return picture_of(few * rng.uniform(18, 35))


def _overexposed(photo: Picture, rng: Rng) -> Picture:
    pixels = pixels_of(photo)
    return picture_of(pixels * rng.uniform(4.5, 9) + rng.uniform(40, 90) * (pixels.max(axis=2, keepdims=True) > 18))


def _shadowed(photo: Picture, rng: Rng) -> Picture:
    """Light in a spot alone, as through a narrow pupil."""
    x, y, _ = distances(photo)
    cx, cy, size = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.15, 0.28)
    light = 0.06 + np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size * size))
    return picture_of(pixels_of(photo) * light[..., None])


def _kept(box: tuple[float, float, float, float], photo: Picture, rng: Rng) -> Picture:
    """A part of the photograph on black, its borders drawn about the given ones."""
    jitter = rng.uniform(-0.04, 0.04, 4)
    left, top, right, bottom = (min(max(b + j * (0.02 < b < 0.98), 0.0), 1.0) for b, j in zip(box, jitter, strict=True))
    where = int(left * photo.width), int(top * photo.height), int(right * photo.width), int(bottom * photo.height)
    kept = Image.new("RGB", photo.size)
    kept.paste(photo.crop(where), where[:2])
    return kept


def _lid(photo: Picture, rng: Rng) -> Picture:
    """A lid, or the iris's edge, before the upper or lower half and more."""
    x, y, far = distances(photo)
    height, bend = rng.uniform(-0.25, 0.25), rng.uniform(0.1, 0.5)
    over = (y if rng.random() < 0.5 else -y) < height + bend * x * x
    level = np.array([rng.uniform(0, 90), rng.uniform(0, 50), rng.uniform(0, 40)], np.float32)
    soft: Pixels = np.asarray(
        Image.fromarray((over * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(4 * unit_px(photo))), np.float32
    )
    soft = soft[..., None] / 255
    return picture_of((pixels_of(photo) * (1 - soft) + level * soft) * (far < 1)[..., None])


def _wedge(photo: Picture, rng: Rng) -> Picture:
    """A sector of the field, 60 to 170 degrees."""
    x, y, _ = distances(photo)
    inside = (np.arctan2(y, x) - rng.uniform(-np.pi, np.pi)) % (2 * np.pi) < np.deg2rad(rng.uniform(60, 170))
    return picture_of(pixels_of(photo) * inside[..., None])


def _crescent(photo: Picture, rng: Rng) -> Picture:
    """The pupil's edge cuts the field to a crescent or a lens."""
    x, y, _ = distances(photo)
    angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(0.75, 1.15)
    inside = (x - away * np.cos(angle)) ** 2 + (y - away * np.sin(angle)) ** 2 < 1
    return picture_of(pixels_of(photo) * (inside if rng.random() < 0.6 else ~inside)[..., None])


def _blotted(photo: Picture, rng: Rng) -> Picture:
    """Something before the lens hides the middle and most of the rest."""
    x, y, _ = distances(photo)
    blot = (x - rng.uniform(-0.2, 0.2)) ** 2 + (y - rng.uniform(-0.2, 0.2)) ** 2 < rng.uniform(0.65, 0.85) ** 2
    level = np.float32(rng.choice([0, 0, 230]))
    return picture_of(np.where(blot[..., None], level, pixels_of(photo)))


def _grey(photo: Picture, rng: Rng) -> Picture:
    return photo.convert("L").convert("RGB")


def _one_channel(photo: Picture, rng: Rng) -> Picture:
    """A red-free photograph: one channel, in grey or tinted."""
    plane = np.asarray(photo.split()[int(rng.integers(3))], np.float32)[..., None]
    tint = np.array([1.0, 1.0, 1.0]) if rng.random() < 0.5 else np.array([0.1, 1.0, rng.uniform(0.1, 0.5)])
    return picture_of(plane * tint * rng.uniform(0.9, 1.4))


def _swapped(order: tuple[int, int, int], photo: Picture, rng: Rng) -> Picture:
    return Image.merge("RGB", [photo.split()[i] for i in order])


def _negative(photo: Picture, rng: Rng) -> Picture:
    return Image.eval(photo, lambda v: 255 - v)


def _false_colours(photo: Picture, rng: Rng) -> Picture:
    """A map of hues over the brightness, as a thickness map has."""
    grey = np.asarray(photo.convert("L"), np.float32)[..., None] / 255
    phase = np.array([0.0, 2.1, 4.2]) + rng.uniform(0, 6.3)
    return picture_of(127 * (1 + np.sin(grey * rng.uniform(6, 14) + phase)) * (grey > 0.07))


def _sheet(photo: Picture, rng: Rng) -> Picture:
    """Several photographs on one sheet."""
    across, down = (2, 2) if rng.random() < 0.5 else (3, 2)
    sheet = Image.new("RGB", photo.size, "black" if rng.random() < 0.5 else "white")
    size = photo.width // across - 8, photo.height // down - 8
    for i in range(across * down):
        small = photo.resize(size, Image.Resampling.BOX)
        sheet.paste(small if i % 2 else small.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (
            4 + i % across * photo.width // across, 4 + i // across * photo.height // down))  # fmt: skip
    return sheet


def _report(photo: Picture, rng: Rng) -> Picture:
    """A printed report with a small photograph in it."""
    page = Image.new("RGB", (photo.width, photo.width * 5 // 4), "white")
    draw = ImageDraw.Draw(page)
    for y in range(20, page.height - 20, 22):
        draw.text((30, y), "".join(chr(int(c)) for c in rng.integers(97, 123, 90)), fill="black", font_size=15)
    share = rng.uniform(0.25, 0.4)
    small = photo.resize((int(photo.width * share), int(photo.height * share)), Image.Resampling.BOX)
    page.paste(
        small, (int(rng.uniform(20, page.width - small.width - 20)), int(rng.uniform(20, page.height - small.height - 20)))
    )
    return page


def _scrambled(photo: Picture, rng: Rng) -> Picture:
    """A damaged file: strips of it out of place."""
    pixels = pixels_of(photo).copy()
    step = int(photo.height // rng.integers(8, 20))
    for top in range(0, photo.height, step):
        pixels[top : top + step] = np.roll(
            pixels[top : top + step], int(rng.integers(photo.width // 5, photo.width * 4 // 5)), axis=1
        )
    return picture_of(pixels)


def _banded(photo: Picture, rng: Rng) -> Picture:
    """The rest of the file never arrived: its last rows, half and more, are grey or a smear."""
    pixels = pixels_of(photo).copy()
    top = int(photo.height * rng.uniform(0.2, 0.42))
    pixels[top:] = 128 if rng.random() < 0.5 else pixels[top]
    return picture_of(pixels)


FOCUS, LIGHT, FIELD, OTHER = Quality.OUT_OF_FOCUS, Quality.TOO_DARK, Quality.FIELD_MISSING, Quality.NOT_FUNDUS
SPOILT: dict[str, tuple[Quality, Kind]] = {
    "blurred a little": (FOCUS, partial(_gaussian, 1.5, 3.0)),
    "blurred": (FOCUS, partial(_gaussian, 3.0, 10.0)),
    "blurred by defocus": (FOCUS, _defocus),
    "blurred by motion": (FOCUS, _motion),
    "blurred by a shaking hand": (FOCUS, _shaken),
    "blurred, a small file": (FOCUS, _blurred_small),
    "blurred, noisy": (FOCUS, _blurred_noisy),
    "blurred, sharpened": (FOCUS, _blurred_sharpened),
    "pixelated": (FOCUS, _pixelated),
    "crushed JPEG": (FOCUS, _crushed),
    "cataract": (FOCUS, _cataract),
    "fogged": (FOCUS, _fogged),
    "dark": (LIGHT, _dark),
    "dark by gamma": (LIGHT, _dark_gamma),
    "dark, noisy": (LIGHT, _dark_noisy),
    "dark, lifted": (LIGHT, _dark_lifted),
    "overexposed": (LIGHT, _overexposed),
    "a spot of light": (LIGHT, _shadowed),
    "left third kept": (FIELD, partial(_kept, (0.0, 0.0, 0.36, 1.0))),
    "bottom quarter kept": (FIELD, partial(_kept, (0.0, 0.72, 1.0, 1.0))),
    "corner kept": (FIELD, partial(_kept, (0.0, 0.0, 0.42, 0.42))),
    "left half kept": (FIELD, partial(_kept, (0.0, 0.0, 0.5, 1.0))),
    "upper half kept": (FIELD, partial(_kept, (0.0, 0.0, 1.0, 0.48))),
    "lid": (FIELD, _lid),
    "wedge": (FIELD, _wedge),
    "crescent": (FIELD, _crescent),
    "blotted": (FIELD, _blotted),
    "half arrived": (FIELD, _banded),
    "grey": (OTHER, _grey),
    "one channel": (OTHER, _one_channel),
    "red and blue swapped": (OTHER, partial(_swapped, (2, 1, 0))),
    "red and green swapped": (OTHER, partial(_swapped, (1, 0, 2))),
    "channels turned": (OTHER, partial(_swapped, (1, 2, 0))),
    "negative": (OTHER, _negative),
    "false colours": (OTHER, _false_colours),
    "sheet of photographs": (OTHER, _sheet),
    "report": (OTHER, _report),
    "scrambled": (OTHER, _scrambled),
}
"""By name: why it must be refused, and how it is made."""
