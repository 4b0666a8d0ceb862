"""Photographs decoded once for several runs, kept in files while they last. Knows nothing of recipes but their squares.

Two specifications that differ in mean and deviation alone share their squares: those are applied to batches.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal_runtime.errors import ImageError
from foveal_runtime.photo.imaging import ImageSpec, UInt8, load_square
from foveal_train.data.sample import Sample
from foveal_train.training.scratch import scratch_array


class DecodedPhotographs:
    """Squares of the photographs of some samples: each is decoded when it is first asked for."""

    def __init__(self, samples: Iterable[Sample], folder: Path) -> None:
        """Args:
        samples: whose photographs may be asked for.
        folder: for the squares, one file for each way of making them.
        """
        paths = dict.fromkeys(sample.image_path for sample in samples if sample.image_path is not None)
        self._places = {path: place for place, path in enumerate(paths)}
        self._folder = folder
        self._sets: dict[ImageSpec, _Squares] = {}
        self._lock = threading.Lock()

    def square(self, sample: Sample, spec: ImageSpec) -> UInt8 | None:
        """`square_SSC` of a sample's photograph; None for a sample that has none.

        Raises:
            ImageError: it can't be decoded.
            DataError: the file can't be read, or the disk has no room for the squares.
        """
        if sample.image_path is None:
            return None
        form = replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        with self._lock:
            if form not in self._sets:
                self._sets[form] = _Squares(self._folder / f"squares-{len(self._sets)}.npy", len(self._places), form.side_px)
        return self._sets[form].at(self._places[sample.image_path], sample, form)


class _Squares:
    """The squares of one way of making them. Threads may ask for different places at once."""

    def __init__(self, path: Path, count: int, side_px: int) -> None:
        self._squares_NSSC: UInt8 = scratch_array(path, (count, side_px, side_px, 3), np.uint8, instead="or sweep elsewhere")
        self._done = np.zeros(count, bool)
        self._refused: dict[int, str] = {}

    def at(self, place: int, sample: Sample, form: ImageSpec) -> UInt8:
        if place in self._refused:
            raise ImageError(self._refused[place])
        if not self._done[place]:
            data = sample.image_bytes()
            assert data is not None
            try:
                self._squares_NSSC[place] = load_square(data, form)
            except ImageError as error:
                self._refused[place] = str(error)
                raise
            self._done[place] = True
        return np.asarray(self._squares_NSSC[place])
