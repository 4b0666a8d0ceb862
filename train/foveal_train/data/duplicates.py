"""Photographs that occur twice, by content. Compares what the decoder would see, not names; decodes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from foveal_train.data.sample import Sample

_SOI = b"\xff\xd8"
_SOS = 0xDA
_APP0, _APP15, _COM = 0xE0, 0xEF, 0xFE


def content_hash(image_bytes: bytes) -> str:
    """SHA-256 of a file, JPEG metadata (EXIF, comments, colour profiles) left out.

    A photograph that was copied, renamed or stripped of its EXIF keeps its hash; one that was encoded anew does not.
    """
    digest = hashlib.sha256()
    for part in _without_metadata(image_bytes):
        digest.update(part)
    return digest.hexdigest()


def _without_metadata(data: bytes) -> Iterable[bytes | memoryview]:
    view = memoryview(data)
    if not data.startswith(_SOI):
        return [view]
    kept: list[bytes | memoryview] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SOS:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        marker = data[at + 1]
        if not (_APP0 <= marker <= _APP15 or marker == _COM):
            kept.append(view[at:end])
        at = end
    return [*kept, view[at:]]


def duplicate_groups(samples: Iterable[Sample]) -> list[list[Sample]]:
    """Samples that share a photograph, in groups of two or more, in the order of their first member.

    Raises:
        DataError: an image file can't be read.
    """
    by_hash: dict[str, list[Sample]] = {}
    for sample in samples:
        image_bytes = sample.image_bytes()
        if image_bytes is not None:
            by_hash.setdefault(content_hash(image_bytes), []).append(sample)
    return [group for group in by_hash.values() if len(group) > 1]
