"""The markers of a JPEG, up to the end of its picture: scans, segments, filler and size are bounded. Decodes nothing.

A progressive JPEG is decoded once a scan, whole, so that half a megabyte of empty scans can take minutes; Pillow reads filler
and what lies between segments byte by byte, in Python.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from foveal_runtime.photo.tiff import is_turned
from foveal_runtime.photo.walk import RGB_BYTES, Structure, refuse_beyond

MAX_SCANS = 64
"""Progressive JPEGs of cameras and editors have 10, seldom 20."""
MAX_SCANNED_PIXELS = 1_000_000_000
"""Scans times pixels: ten scans of the largest photograph that is read by default."""
MAX_SEGMENTS = 1024
"""A colour profile or a maker's note of 16 MB takes 256."""
MAX_FILLER_BYTES = 65_536
"""0xFF before a marker, and anything else between two segments."""
MAX_EXIFS = 64
"""Pillow appends each to those before it: 900 of 60 kB took 25 s."""
MAX_RUN_BYTES = 4096
"""Of 0xFF, from the first scan on: libjpeg starts the run anew with every 64 kB it is given, and 60 MB took 46 s."""

_PIECE_BYTES = 1 << 20
_RUN = b"\xff" * MAX_RUN_BYTES
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers without a length: restarts, start and end."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers, which tell the size."""
_LS_FRAME = 0xF7
"""Of a frame header of JPEG-LS (ITU-T T.87)."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SCAN = 0xDA
"""Of a scan."""
_END, _APP1, _COMMENT = 0xD9, 0xE1, 0xFE


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    """Of the marker."""
    end: int
    """Of the segment, with the data of a scan."""


def segments(data: bytes, place: int = 2) -> Iterator[_Segment]:
    """The segments up to the end of the picture, as far as they can be told apart; what Pillow can't read ends the walk.

    Raises:
        ImageError: more segments or more filler than a photograph has.
    """
    filler = scans = 0
    run = -1
    for _ in range(MAX_SEGMENTS):
        if not scans:
            last = min(len(data), place + MAX_FILLER_BYTES + 2)
            found = _MARKER.search(data, place, last)
            filler += (found.start() if found else last) - place
            refuse_beyond(MAX_FILLER_BYTES, filler, "bytes of filler between its segments")
        else:
            # What lies between two segments here is libjpeg's to skip, a gigabyte a second, but for runs of 0xFF.
            run = _next_run(data, place, run)
            found = _before(run, _MARKER, data, place)
        if found is None:
            return
        marker, end = data[found.start() + 1], found.end()
        if marker not in _BARE:
            if end + 2 > len(data):
                return
            end += int.from_bytes(data[end : end + 2], "big")
        if marker == SCAN:
            scans += 1
            run = _next_run(data, end, run)
            after = _before(run, _MARKER_IN_SCAN, data, end)
            end = len(data) if after is None else after.start()
        yield _Segment(marker, found.start(), end)
        if scans and marker == _END:
            return
        place = end
    refuse_beyond(MAX_SEGMENTS, MAX_SEGMENTS + 1, "segments")


def _next_run(data: bytes, place: int, run: int) -> int:
    """Where the next run of 0xFF that is too long begins, found once; the file's end where there is none."""
    if run >= place:
        return run
    found = data.find(_RUN, place)
    return len(data) if found < 0 else found


def _before(run: int, marker: re.Pattern[bytes], data: bytes, place: int) -> re.Match[bytes] | None:
    """The next marker.

    Raises:
        ImageError: a run of 0xFF comes first.
    """
    last = min(len(data), run + 2)
    # In pieces, between which other threads may run.
    found = None
    for piece in range(place, last, _PIECE_BYTES):
        found = marker.search(data, piece, min(last, piece + _PIECE_BYTES + 1))
        if found is not None:
            break
    refuse_beyond(MAX_RUN_BYTES, MAX_RUN_BYTES + 1 if found is None and run < len(data) else 0, "bytes of 0xFF in a row")
    return found


def walk_jpeg(data: bytes) -> Structure:
    """Its cost and its content.

    Raises:
        ImageError: more scans, segments or filler than a photograph has.
    """
    pixels = samples = components = scans = exifs = 0
    buffered = turned = False
    content: list[slice] = []
    for segment in segments(data):
        marker, payload = segment.marker, segment.start + 4
        if marker in FRAMES and not pixels:
            pixels, samples, components = _frame(data, payload)
            buffered = marker in _PROGRESSIVE
        elif marker == SCAN:
            scans += 1
            refuse_beyond(MAX_SCANS, scans, "scans", "save it as a baseline JPEG")
            scanned = scans * pixels if scans > 1 else 0  # one scan is the decoder's limit of pixels to judge
            refuse_beyond(MAX_SCANNED_PIXELS, scanned, "pixels in all its scans", "save it as a baseline JPEG")
            buffered |= data[payload : payload + 1] != bytes([components])
        elif marker == _APP1:
            exifs += data.startswith(b"Exif\0\0", payload)
            refuse_beyond(MAX_EXIFS, exifs, "segments of EXIF")
            turned |= is_turned(data[payload : segment.end])
        if not 0xE0 <= marker < 0xF0 and marker != _COMMENT:
            content.append(slice(segment.start, segment.end))
    picture = pixels * (RGB_BYTES + {1: 1, 4: RGB_BYTES}.get(components, 0))
    return Structure(
        # Two bytes a coefficient, of every sample, where the scans have to be put together first.
        decoded_bytes=picture + (2 * samples if buffered else 0) + (pixels * RGB_BYTES if turned else 0),
        content=tuple(content),
    )


def frame_size(data: bytes) -> tuple[int, int]:
    """Width and height that the first frame header tells, of JPEG-LS too; zeros where there is none."""
    for segment in segments(data):
        if segment.marker in FRAMES or segment.marker == _LS_FRAME:
            height, width = struct.unpack(">HH", data[segment.start + 5 : segment.start + 9].ljust(4, b"\0"))
            return width, height
    return 0, 0


def _frame(data: bytes, payload: int) -> tuple[int, int, int]:
    """Pixels, samples and components that a frame header tells."""
    try:
        height, width, components = struct.unpack_from(">HHB", data, payload + 1)
        factors = [(f >> 4) * (f & 15) for f in data[payload + 7 : payload + 6 + 3 * components : 3]]
    except struct.error:
        return 0, 0, 0
    largest = max(factors, default=1) or 1
    return width * height, sum(width * height * factor // largest for factor in factors), components
