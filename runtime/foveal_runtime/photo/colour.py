"""Pictures of any mode to 8-bit RGB, a strip at a time, in integers: memory is the two pictures'. Decodes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.raw import EIGHT_BITS
from foveal_runtime.photo.walk import strips


def check_mode(image: Image.Image) -> None:
    """Refuse by mode what need not be decoded for it.

    Raises:
        ImageError: the pixels are floating-point numbers.
    """
    if image.mode == "F":
        raise ImageError("image holds floating-point pixels; send 8 or 16 bits a channel")


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette, alpha over camera black, CMYK and 16 bits as 8-bit RGB.

    Raises:
        ImageError: integers beyond 16 bits, or a mode that has no agreed conversion.
    """
    if image.mode == "RGB":
        return image
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        if image.mode == "I" and not _within_16_bits(image):
            raise ImageError("image holds 32-bit integers; send 8 or 16 bits a channel")
        return _in_strips(image, _deep_grey)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _in_strips(image, _over_black)
    if image.mode in ("L", "P", "1", "CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    raise ImageError(f"image mode {image.mode} has no agreed conversion to RGB; send 8-bit RGB")


def _within_16_bits(image: Image.Image) -> bool:
    low, high = image.getextrema()
    return int(low) >= 0 and int(high) <= 65_535  # type: ignore[arg-type]


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert some rows at a time: only the picture itself is there twice."""
    width, height = image.size
    rgb = Image.new("RGB", image.size)
    for rows in strips(height, width):
        rgb.paste(convert(image.crop((0, rows.start, width, rows.stop))), (0, rows.start))
    return rgb


def _deep_grey(strip: Image.Image) -> Image.Image:
    return Image.fromarray(EIGHT_BITS[np.asarray(strip)]).convert("RGB")


def _over_black(strip: Image.Image) -> Image.Image:
    rgba = strip.convert("RGBA")
    rgb = Image.new("RGB", rgba.size)
    rgb.paste(rgba, mask=rgba)  # over opaque black this is `Image.alpha_composite` to the last bit, in a tenth of its time
    return rgb
