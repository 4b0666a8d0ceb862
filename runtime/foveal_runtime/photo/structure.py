"""The structure of a photograph's file, of whatever format, before an image library sees it. Decodes nothing.

A walk takes steps as many as the limits of its format allow, none of them for a single byte, so it ends within milliseconds on
any bytes. What it can't follow it leaves to the decoder, which then refuses the file by name.
"""

from __future__ import annotations

import hashlib

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.elements import is_dicom, walk_dicom
from foveal_runtime.photo.jpeg import walk_jpeg
from foveal_runtime.photo.png import SIGNATURE, walk_png
from foveal_runtime.photo.raw import is_raw, raw_bytes
from foveal_runtime.photo.tiff import is_tiff, walk_tiff
from foveal_runtime.photo.walk import Structure
from foveal_runtime.photo.webp import walk_webp


def check_structure(data: bytes) -> Structure:
    """What a photograph's structure tells.

    Raises:
        ImageError: it has more parts than a photograph has.
    """
    if is_raw(data):
        return Structure(decoded_bytes=raw_bytes(data), content=(slice(None),))
    if is_dicom(data):
        return walk_dicom(data)
    if data[:2] == b"\xff\xd8":
        return walk_jpeg(data)
    if data[:8] == SIGNATURE:
        return walk_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return walk_webp(data)
    if is_tiff(data):
        tiff = walk_tiff(data)
        for part in tiff.content if tiff.is_of_jpegs else ():
            walk_jpeg(data[part])
        return tiff
    return Structure(decoded_bytes=0, content=(slice(None),))


def content_sha256(data: bytes) -> bytes:
    """Identity of the bytes that pixels are made of: neither metadata nor what follows the picture's end changes it."""
    try:
        content = check_structure(data).content
    except ImageError:  # refused before it is decoded: whoever sends it, no worker is at risk
        content = (slice(None),)
    digest = hashlib.sha256()
    whole = memoryview(data)
    for part in content or (slice(None),):
        digest.update(whole[part])
    return digest.digest()
