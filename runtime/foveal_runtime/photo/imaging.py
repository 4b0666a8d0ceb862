"""From photograph bytes to the pixels a model sees: decode, crop to the field of view, resize, standardise.

Training and serving both use this module, so a model is trained on exactly what it will be served. The whole
specification is `ImageSpec`, which is data in the manifest and part of `space_id`. Augmentation belongs to training.

Shapes: H, W pixels of a photograph; S the profile's side; C three channels, RGB.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.ground import Bool as Bool
from foveal_runtime.photo.ground import UInt8 as UInt8
from foveal_runtime.photo.ground import on_black, paper_level, surrounds_an_eye
from foveal_runtime.photo.limits import ImageLimits as ImageLimits
from foveal_runtime.photo.opening import FORMATS, merged
from foveal_runtime.photo.opening import open_header as open_header
from foveal_runtime.photo.opening import upright as upright
from foveal_runtime.photo.planes import layout_of
from foveal_runtime.photo.raw import is_raw, raw_size, unpack_raw
from foveal_runtime.photo.tiff import is_tiff
from foveal_runtime.photo.walk import Structure

Float32 = npt.NDArray[np.float32]
Frame = tuple[float, float, float, float]
"""Left, top, right and bottom of a square within a photograph, in widths and heights of it; may lie outside it (< 0, > 1)."""

_FIELD_THRESHOLD = 18
"""A pixel whose brightest channel exceeds this (0 to 255) belongs to the field of view; camera black stays below it."""
_FIELD_PROBE_PX = 256
"""Long side of the reduced copy on which the field of view is found."""
FIELD_PX = 256
"""The field of view is left at least this wide where the photograph shows it so: gradability is measured at that width."""
_DCT_SCALES = (8, 4, 2, 1)
"""What libjpeg divides a photograph's sides by while decoding; the larger, the fewer pixels are ever made."""


class Crop(StrEnum):
    """How a photograph is made square."""

    NONE = "none"
    """The whole photograph is squeezed to a square (the paper's preprocessing)."""
    FIELD = "field"
    """The bounding square of the circular field of view. Black: what lies outside the photograph, and paper round the field."""


class Decode(StrEnum):
    """What a JPEG is decoded to."""

    DCT_2X = "jpeg-dct-2x"
    """The smallest DCT scale whose sides are both >= 2 * side_px."""
    DCT_FIELD = "jpeg-dct-field"
    """The smallest DCT scale whose field of view is at least side_px wide, and at least `FIELD_PX`."""


class Resample(StrEnum):
    """How the decoded photograph comes to the side."""

    BICUBIC = "bicubic-antialias"
    """At once, from whatever was decoded. Bundles made before there was another way are served so."""
    HALVED = "halved-bicubic-antialias"
    """From a copy that was halved by averaging as long as its field of view stays as wide as `Decode.DCT_FIELD` asks. The
    gradability checks look at the same copy: full size is resampled once."""


_PAIRS = {(Decode.DCT_2X, Resample.BICUBIC), (Decode.DCT_FIELD, Resample.HALVED)}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """How bytes become pixels. Every field changes the embedding space."""

    side_px: int = 224
    """Side of the square the model sees."""
    crop: Crop = Crop.FIELD
    """How a photograph becomes a square."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per RGB channel, after scaling to [0, 1]; belongs to the profile's pretrained weights."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """What the channels are divided by."""
    decode: Decode = Decode.DCT_FIELD
    """At which scale JPEGs are decoded; everything else is decoded in full."""
    resample: Resample = Resample.HALVED
    """How the photograph is scaled to the side."""

    def __post_init__(self) -> None:
        if not 16 <= self.side_px <= 2048:
            raise ImageError(f"image side is {self.side_px} px, 16 to 2048 are supported")
        if (self.decode, self.resample) not in _PAIRS:
            known = ", ".join(f"{resample} with {decode}" for decode, resample in sorted(_PAIRS))
            raise ImageError(f"image is resampled as {self.resample} with {self.decode}; this runtime knows {known}")

    @property
    def field_px(self) -> int:
        """How wide the field of view is left when a photograph is halved."""
        return max(self.side_px, FIELD_PX)


def photograph(
    image_bytes: bytes, spec: ImageSpec, limits: ImageLimits = ImageLimits(), structure: Structure | None = None
) -> Image.Image:
    """Bytes to an RGB picture at the scale that `spec` resamples from, EXIF orientation applied.

    Grey, palette, alpha, CMYK and 16-bit images are converted.

    Args:
        image_bytes: the file.
        spec: how it is resampled.
        limits: what is refused.
        structure: what `check_structure` found of it; None looks.

    Raises:
        ImageError: undecodable, truncated, of a mode that has no agreed conversion, or refused by `limits`.
    """
    if is_raw(image_bytes):
        limits.check(*raw_size(image_bytes))
        return halved(unpack_raw(image_bytes), spec)
    try:
        if is_tiff(image_bytes) and (layout := layout_of(image_bytes)).by_planes:
            return halved(merged(layout, limits, structure), spec)
        image = open_header(image_bytes, limits, structure)
        if image.format not in ("JPEG", "MPO"):
            return halved(upright(image), spec)
        if spec.resample is Resample.BICUBIC:
            image.draft("RGB", (2 * spec.side_px, 2 * spec.side_px))
            return upright(image)
        return _halved_jpeg(image, image_bytes, spec)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise anything on damaged data
        raise ImageError(
            f"image can't be decoded ({type(error).__name__}), it is truncated or damaged; send an intact file"
        ) from None


def _halved_jpeg(image: Image.Image, image_bytes: bytes, spec: ImageSpec) -> Image.Image:
    """Halve while decoding, which is faster than after it. A field that is small in its photograph is decoded again, larger."""
    width, height = image.size
    scales = [scale for scale in _DCT_SCALES if min(width, height) // scale >= spec.field_px] or [1]
    while True:
        scale = scales.pop(0)
        image.draft("RGB", (width // scale, height // scale))
        picture = upright(image)
        side = _field_side(picture, spec)
        if not scales or side >= spec.field_px:
            return _halved_by(picture, side, spec)
        image = Image.open(io.BytesIO(image_bytes), formats=FORMATS)


def halved(picture: Image.Image, spec: ImageSpec) -> Image.Image:
    """The copy that both the model's square and the gradability checks are taken from; the picture itself where `spec` says so.

    Args:
        picture: RGB, as decoded.
        spec: how it is resampled, and to which side.
    """
    if spec.resample is Resample.BICUBIC:
        return picture
    return _halved_by(picture, _field_side(picture, spec), spec)


def _halved_by(picture: Image.Image, field_side: float, spec: ImageSpec) -> Image.Image:
    halvings = int(math.log2(max(1.0, field_side / spec.field_px)))
    return picture.reduce(2**halvings) if halvings else picture


def _field_side(picture: Image.Image, spec: ImageSpec) -> float:
    """Shorter side of what becomes the square, in pixels."""
    if spec.crop is Crop.NONE:
        return min(picture.size)
    left, _, right, _ = field_box(picture)
    return right - left


def decode(image_bytes: bytes, spec: ImageSpec, limits: ImageLimits = ImageLimits()) -> UInt8:
    """`photograph` as `rgb_HWC`.

    Raises:
        ImageError: see `photograph`.
    """
    return np.asarray(photograph(image_bytes, spec, limits), dtype=np.uint8)


def field_box(picture: Image.Image) -> tuple[float, float, float, float]:
    """Bounding square (left, top, right, bottom) of the field of view in pixels; may reach outside the photograph.

    Cameras often cut the circle above and below: the side is then the circle's width. A photograph with no dark
    border (or none that can be told) gets the square around the whole of it. Paper round the field counts as a dark border.
    """
    probe, step = _probe(picture)
    return _box(probe, _paper(probe), step, picture.size)


def _probe(picture: Image.Image) -> tuple[UInt8, int]:
    """Every step-th pixel of every step-th row, from the first, as `_3HW`, and the step."""
    width, height = picture.size
    step = max(1, max(height, width) // _FIELD_PROBE_PX)
    # The nearest neighbour of (step x, step y).
    probe = picture.transform(
        (-(-width // step), -(-height // step)),
        Image.Transform.AFFINE,
        (step, 0, 0.5 - step / 2, 0, step, 0.5 - step / 2),
        Image.Resampling.NEAREST,
    )
    return np.stack([np.asarray(channel) for channel in probe.split()]), step


def _paper(probe_3HW: UInt8) -> float:
    """How light the paper is that an eye lies on; 0 on camera black, or where it can't be told."""
    level = paper_level(probe_3HW)
    return level if level and surrounds_an_eye(probe_3HW.transpose(1, 2, 0), level) else 0.0


def _box(probe_3HW: UInt8, paper: float, step: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    red, green, blue = on_black(probe_3HW.transpose(1, 2, 0), paper).transpose(2, 0, 1) if paper else probe_3HW
    lit_HW: Bool = np.maximum(np.maximum(red, green), blue) > _FIELD_THRESHOLD
    # A row or column belongs to the field when 2 % of it is lit: single bright specks and stamps of text do not.
    columns = np.flatnonzero(lit_HW.mean(axis=0) > 0.02)
    rows = np.flatnonzero(lit_HW.mean(axis=1) > 0.02)
    if columns.size < 8 or rows.size < 8:
        left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    else:
        left, right = float(columns[0] * step), min(float((columns[-1] + 1) * step), float(width))
        top, bottom = float(rows[0] * step), min(float((rows[-1] + 1) * step), float(height))
    side = max(right - left, bottom - top)
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    return middle_x - side / 2, middle_y - side / 2, middle_x + side / 2, middle_y + side / 2


def square(picture: Image.Image, spec: ImageSpec) -> UInt8:
    """Crop and resize to `square_SSC`, still 8 bits: the form that training caches and augments."""
    return framed(picture, spec)[0]


def framed(picture: Image.Image, spec: ImageSpec) -> tuple[UInt8, Frame]:
    """`square`, and what of the photograph it shows."""
    width, height = picture.size
    if spec.crop is Crop.FIELD:
        probe, step = _probe(picture)
        paper = _paper(probe)
        box = _box(probe, paper, step, picture.size)
        if paper:
            picture = Image.fromarray(on_black(np.asarray(picture), paper))
    else:
        box = (0.0, 0.0, float(width), float(height))
    left, top, right, bottom = box
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    scale_x, scale_y = spec.side_px / (right - left), spec.side_px / (bottom - top)
    # Whole target pixels for the part inside the photograph; the rest of the square stays black.
    x0, x1 = round((inside[0] - left) * scale_x), round((inside[2] - left) * scale_x)
    y0, y1 = round((inside[1] - top) * scale_y), round((inside[3] - top) * scale_y)
    part = picture.resize((max(x1 - x0, 1), max(y1 - y0, 1)), Image.Resampling.BICUBIC, box=inside)
    frame = (left / width, top / height, right / width, bottom / height)
    if part.size == (spec.side_px, spec.side_px):
        return np.asarray(part, dtype=np.uint8), frame
    canvas = np.zeros((spec.side_px, spec.side_px, 3), np.uint8)
    canvas[y0 : y0 + part.size[1], x0 : x0 + part.size[0]] = np.asarray(part)
    return canvas, frame


def standardise(square_SSC: UInt8, spec: ImageSpec) -> Float32:
    """8-bit square to standardised `pixels_CHW`, float32."""
    mean_C11, std_C11 = (np.asarray(value, np.float32)[:, None, None] for value in (spec.mean, spec.std))
    # Channels first while they are bytes: a seventh of the time that transposing the floats takes.
    pixels_CHW: Float32 = square_SSC.transpose(2, 0, 1).astype(np.float32, order="C")
    pixels_CHW *= np.float32(1 / 255) / std_C11
    pixels_CHW -= mean_C11 / std_C11
    return pixels_CHW


def load_square(image_bytes: bytes, spec: ImageSpec, limits: ImageLimits = ImageLimits()) -> UInt8:
    """Bytes to `square_SSC`: `photograph` then `square`.

    Raises:
        ImageError: see `photograph`.
    """
    return square(photograph(image_bytes, spec, limits), spec)
