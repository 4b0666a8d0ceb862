"""Where in a photograph the model saw what speaks for referral: windows of it are smoothed away, one at a time, and the
answers compared (occlusion sensitivity, Zeiler and Fergus 2014, with the surroundings' colours in place of grey).

It asks the exported graphs themselves, so it holds for every architecture and precision. `manifest.occlusion` says whether
the maps of a bundle are faithful; nobody is shown those that are not.

Shapes: N windows, C channels, S the profile's side, R cells a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal_runtime.engine.answers import EvidenceMap, Prepared

if TYPE_CHECKING:
    from foveal_runtime.photo.imaging import Float32, ImageSpec

CELLS = 8
"""A side, of a map."""
WINDOW_CELLS = 2
"""A side, of what is smoothed away at once; windows overlap by half."""
_SMOOTH_CELLS = 16
"""Means a side, that the colours without detail are drawn from."""
_BLACK = 18 / 255
"""What no channel of a pixel outside the field of view exceeds."""
_LEAST_FIELD = 0.3
"""Share of a window that lies in the field of view; others are passed over."""
_CHUNK = 16


def evidence_map(item: Prepared, spec: ImageSpec, log_odds: Callable[[Float32], npt.NDArray[np.float64]]) -> EvidenceMap:
    """The map of a study with a photograph, whatever else it has.

    Args:
        item: the study.
        spec: of its photograph.
        log_odds: of referral, `[N]`, given standardised photographs `[N, C, S, S]` in place of the study's own.
    """
    assert item.pixels_CHW is not None
    assert item.frame is not None
    field_SS = field_of_view(item.pixels_CHW, spec)
    smooth_CSS = without_detail(item.pixels_CHW, field_SS)
    corners = _corners(field_SS)
    (whole,) = log_odds(item.pixels_CHW[None])
    lost: list[float] = []
    for chunk in (corners[i : i + _CHUNK] for i in range(0, len(corners), _CHUNK)):
        copies_NCSS = np.stack([blended(item.pixels_CHW, smooth_CSS, _window(corner, field_SS.shape[0])) for corner in chunk])
        lost.extend(whole - log_odds(copies_NCSS))
    sums_RR, counts_RR = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), loss in zip(corners, lost, strict=True):
        sums_RR[row : row + WINDOW_CELLS, column : column + WINDOW_CELLS] += loss
        counts_RR[row : row + WINDOW_CELLS, column : column + WINDOW_CELLS] += 1
    mean_RR = np.maximum(sums_RR / np.maximum(counts_RR, 1), 0)
    largest = float(mean_RR.max())
    cells_RR = (mean_RR / largest if largest else mean_RR).astype(np.float32)
    return EvidenceMap(cells_RR=cells_RR, frame=item.frame, log_odds=largest)


def field_of_view(pixels_CSS: Float32, spec: ImageSpec) -> npt.NDArray[np.bool_]:
    """`field_SS`: where the standardised photograph shows anything."""
    shape = (len(spec.mean), 1, 1)
    shown_CSS = pixels_CSS * np.reshape(spec.std, shape) + np.reshape(spec.mean, shape)
    return np.asarray(shown_CSS.max(axis=0) > _BLACK)


def without_detail(pixels_CSS: Float32, field_SS: npt.NDArray[np.bool_]) -> Float32:
    """The photograph as an eye with neither vessels nor lesions: means of the field of view alone, drawn smoothly."""
    weight_SS = field_SS.astype(np.float32)
    known = _drawn_smoothly(weight_SS)
    means_CSS = np.stack([_drawn_smoothly(channel * weight_SS) / np.maximum(known, 1e-3) for channel in pixels_CSS])
    return np.where(field_SS, means_CSS, pixels_CSS).astype(np.float32)


def blended(pixels_CSS: Float32, smooth_CSS: Float32, where_SS: npt.NDArray[Any]) -> Float32:
    """The photograph, smooth where `where_SS` is 1."""
    return np.asarray(np.where(where_SS > 0, smooth_CSS, pixels_CSS), np.float32)


def edges(side_px: int) -> npt.NDArray[np.int64]:
    """Pixels at which the cells of a map begin, along a side, and the last one ends: `[R + 1]`."""
    return np.round(np.linspace(0, side_px, CELLS + 1)).astype(np.int64)


def upsampled(cells_RR: Float32, side_px: int) -> Float32:
    """A map at a photograph's size, `[S, S]`, as it is drawn: bilinear."""
    return np.asarray(Image.fromarray(cells_RR).resize((side_px, side_px), Image.Resampling.BILINEAR), np.float32)


def _drawn_smoothly(plane_SS: Float32) -> Float32:
    """Means of a few large cells, and a smooth surface through them."""
    few = Image.fromarray(np.ascontiguousarray(plane_SS, np.float32)).resize(
        (_SMOOTH_CELLS, _SMOOTH_CELLS), Image.Resampling.BOX
    )
    return np.asarray(few.resize(plane_SS.shape[::-1], Image.Resampling.BICUBIC), np.float32)


def _corners(field_SS: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Upper left cells of the windows that lie in the field of view."""
    return [
        (row, column)
        for row, column in _all_corners()
        if field_SS[_window((row, column), field_SS.shape[0]) > 0].mean() >= _LEAST_FIELD
    ]


def _all_corners() -> Iterator[tuple[int, int]]:
    places = range(CELLS - WINDOW_CELLS + 1)
    return ((row, column) for row in places for column in places)


def _window(corner: tuple[int, int], side_px: int) -> npt.NDArray[np.uint8]:
    """1 in the window, `[S, S]`."""
    cells = edges(side_px)
    (top, left), bottom_right = corner, (corner[0] + WINDOW_CELLS, corner[1] + WINDOW_CELLS)
    where_SS = np.zeros((side_px, side_px), np.uint8)
    where_SS[cells[top] : cells[bottom_right[0]], cells[left] : cells[bottom_right[1]]] = 1
    return where_SS
