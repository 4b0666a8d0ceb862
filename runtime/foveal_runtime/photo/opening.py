"""Open a photograph's file, whatever its format: checked before it is decoded, turned upright, RGB. Resizes nothing."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.colour import check_mode, to_rgb
from foveal_runtime.photo.exif import turned
from foveal_runtime.photo.extras import plain_png
from foveal_runtime.photo.foreign import foreign_format
from foveal_runtime.photo.limits import ImageLimits
from foveal_runtime.photo.planes import Layout
from foveal_runtime.photo.structure import check_structure
from foveal_runtime.photo.walk import Structure

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
"""Pillow formats that are read. MPO, which some cameras write under the name .jpg, is opened by Pillow as JPEG."""


def open_header(image_bytes: bytes, limits: ImageLimits = ImageLimits(), structure: Structure | None = None) -> Image.Image:
    """Open a photograph without decoding its pixels.

    Args:
        image_bytes: the file.
        limits: what is refused.
        structure: what `check_structure` found of it; None looks.

    Raises:
        ImageError: not one of `FORMATS`, too small, too large, of too many parts, or more than one frame.
    """
    structure = check_structure(image_bytes) if structure is None else structure
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; the limit below refuses them by name.
            image = Image.open(io.BytesIO(plain_png(image_bytes)), formats=FORMATS)
    except UnidentifiedImageError:
        found = foreign_format(image_bytes)
        raise ImageError(
            f"image is {found}, which this runtime does not read; send JPEG, PNG, TIFF or WebP"
            if found
            else f"image of {len(image_bytes)} bytes is no photograph this runtime reads; send JPEG, PNG, TIFF or WebP"
        ) from None
    except Image.DecompressionBombError:  # Pillow's own limit, twice its MAX_IMAGE_PIXELS
        raise ImageError(f"image is over the limit of {limits.max_pixels} pixels; send it scaled down") from None
    except Exception as error:  # noqa: BLE001 - Pillow's parsers raise anything on hostile headers
        raise ImageError(f"image header can't be read ({type(error).__name__}); send an intact file") from None
    limits.check(*image.size)
    limits.check_decoded(structure)
    # A TIFF's thumbnails are directories of its own, and no further photographs.
    frames = structure.pages if image.format == "TIFF" else 1 if image.format == "MPO" else _frames(image)
    _refuse_frames(frames)
    return image


def _refuse_frames(frames: int) -> None:
    if frames > 1:
        raise ImageError(f"image has {frames} frames; send one photograph a study")


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:  # noqa: BLE001 - counting reads every frame's header, and those may be damaged
        raise ImageError(f"image header can't be read ({type(error).__name__}); send an intact file") from None


def upright(image: Image.Image) -> Image.Image:
    """An opened photograph as RGB, turned as its EXIF data says.

    Raises:
        ImageError: a mode that has no agreed conversion. Pillow raises anything else on damaged data.
    """
    check_mode(image)
    image.load()
    # Of a TIFF, whose directory the orientation lies in, Pillow has turned the pixels by now.
    exif = b"" if image.format == "TIFF" else image.info.get("exif", b"")
    return turned(to_rgb(image), exif)


def merged(layout: Layout, limits: ImageLimits, structure: Structure | None = None) -> Image.Image:
    """The picture of a TIFF with a plane for each sample.

    Args:
        layout: of the file.
        limits: what is refused.
        structure: what `check_structure` found of it; None looks.

    Raises:
        ImageError: more than one picture, or refused by `limits`. Pillow raises anything else on damaged data.
    """
    limits.check(*layout.size)
    structure = check_structure(layout.data) if structure is None else structure
    limits.check_decoded(structure)
    _refuse_frames(structure.pages)
    planes = [to_rgb(_loaded(open_header(plane, limits))).getchannel(0) for plane in layout.planes()]
    if layout.white_is_zero:
        planes[0] = ImageOps.invert(planes[0])
    return to_rgb(Image.merge({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[len(planes)], planes))


def _loaded(image: Image.Image) -> Image.Image:
    image.load()
    return image
