"""Raw RGB samples: packed by the server's parent process without looking at them, unpacked to a picture by the worker.

Packed, they travel and are hashed as a photograph's bytes are. Resizes nothing.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.walk import RGB_BYTES, strips

SAMPLE_TYPES: dict[str, npt.DTypeLike] = {"uint8": "u1", "uint16": "<u2", "float32": "<f4"}
"""Little-endian; `uint16` is 0 to 65535, `float32` is 0 to 1."""
MAX_SIDE_PX = 65_535
_MAGIC = b"\x89fovealraw\n"  # no file format begins so
_HEADER = struct.Struct("<II8s")
_DATA_AT = len(_MAGIC) + _HEADER.size


def pack_raw(pixels: bytes, width: int, height: int, sample_type: str) -> bytes:
    """These pixels as one byte string.

    Args:
        pixels: height * width * 3 samples, row by row.
        width: in pixels.
        height: in pixels.
        sample_type: one of `SAMPLE_TYPES`.

    Raises:
        ImageError: wrong dimensions or length.
    """
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise ImageError(f"raw image is {width} x {height} px; 1 to {MAX_SIDE_PX} a side can be", field="image.raw")
    expected = width * height * 3 * np.dtype(SAMPLE_TYPES[sample_type]).itemsize
    if len(pixels) != expected:
        raise ImageError(
            f"raw image of {width} x {height} {sample_type} RGB pixels needs {expected} bytes, got {len(pixels)}",
            field="image.raw.pixels",
        )
    return b"".join((_MAGIC, _HEADER.pack(width, height, sample_type.encode()), pixels))


def is_raw(data: bytes) -> bool:
    """Whether the bytes were packed here."""
    return data[: len(_MAGIC)] == _MAGIC


def raw_size(data: bytes) -> tuple[int, int]:
    """Width and height of packed pixels.

    Raises:
        ImageError: bytes that `pack_raw` did not make.
    """
    width, height, _ = _header(data)
    return width, height


def raw_bytes(data: bytes) -> int:
    """What the picture takes as Pillow keeps it, and as it is handed over.

    Raises:
        ImageError: bytes that `pack_raw` did not make.
    """
    width, height, _ = _header(data)
    return width * height * (3 + RGB_BYTES)


def _header(data: bytes) -> tuple[int, int, np.dtype[np.generic]]:
    try:
        width, height, name = _HEADER.unpack_from(data, len(_MAGIC))
        return width, height, np.dtype(SAMPLE_TYPES[name.rstrip(b"\0").decode()])
    except (struct.error, KeyError, UnicodeDecodeError):
        raise ImageError("raw image is damaged; send it again", field="image.raw") from None


def unpack_raw(data: bytes) -> Image.Image:
    """The picture, 8 bits a channel.

    Raises:
        ImageError: samples that are not finite or outside their range, or bytes that `pack_raw` did not make.
    """
    width, height, dtype = _header(data)
    if len(data) != _DATA_AT + width * height * 3 * dtype.itemsize:
        raise ImageError("raw image is damaged; send it again", field="image.raw")
    samples_HWC = np.frombuffer(data, dtype, offset=_DATA_AT).reshape(height, width, 3)
    if dtype == np.uint8:
        return Image.fromarray(samples_HWC)
    rgb_HWC = np.empty(samples_HWC.shape, np.uint8)
    for rows in strips(height, width):
        rgb_HWC[rows] = EIGHT_BITS[samples_HWC[rows]] if dtype == np.uint16 else _of_floats(samples_HWC[rows])
    return Image.fromarray(rgb_HWC)


def _of_floats(samples_HWC: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    if not np.isfinite(samples_HWC).all():
        raise ImageError("raw image has samples that are NaN or infinite; send 0.0 to 1.0", field="image.raw.pixels")
    if samples_HWC.min() < 0.0 or samples_HWC.max() > 1.0:
        raise ImageError("raw image has samples outside 0.0 to 1.0; scale them", field="image.raw.pixels")
    return np.round(samples_HWC * np.float32(255.0)).astype(np.uint8)


EIGHT_BITS = np.round(np.arange(65_536) / 257.0).astype(np.uint8)
"""16 bits to 8, for every value there is."""
