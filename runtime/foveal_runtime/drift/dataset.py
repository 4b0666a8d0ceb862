"""The photographs of a data set, counted and compared as a server would. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.drift.signals import GRID, Reading, reading_of
from foveal_runtime.drift.stream import Served, Stream, camera_of
from foveal_runtime.engine.answers import Ask, Prepared, check_trained
from foveal_runtime.engine.grading import grade
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Modality

if TYPE_CHECKING:
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.study.study import Study

_BATCH = 8


class Photographed(Protocol):
    """A sample of a data set, as `foveal_train.data` has it."""

    @property
    def camera(self) -> str:
        """As the data set names it; empty where it does not."""

    def study(self, *, note: str | None = ...) -> Study:
        """Reads it."""


def compared(
    engine: Engine, samples: Sequence[Photographed], reference: Sequence[Photographed] = (), *, seed: int = 0
) -> tuple[list[Stream], int]:
    """Each camera of a data set, and how many photographs could not be read.

    Args:
        engine: of the bundle.
        samples: with photographs.
        reference: photographs that the cameras' own references begin with.
        seed: of the order, and of what breaks ties.
    """
    rng = np.random.default_rng(seed)
    held_out = engine.manifest.held_out
    usable = held_out if held_out is not None and held_out.grid == GRID else None
    served = Served(bundle_sha256=engine.bundle.sha256, gradability="", held_out=usable)
    streams: dict[str, Stream] = {}
    left_out, now = 0, datetime.now(UTC)
    for each, is_new in ((reference, False), ([samples[i] for i in rng.permutation(len(samples))], True)):
        for found in _readings(engine, each):
            if found is None:
                left_out += 1
                continue
            camera, reading = found
            stream = streams.setdefault(camera, Stream(camera, served))
            if is_new:
                stream.add(reading, now, rng)
            else:
                stream.begin_with([reading])
    return [streams[camera] for camera in sorted(streams)], left_out


def _readings(engine: Engine, samples: Sequence[Photographed]) -> Iterator[tuple[str, Reading] | None]:
    """Camera and counts of each photograph; None where it can't be read."""
    manifest = engine.manifest
    for start in range(0, len(samples), _BATCH):
        prepared: list[tuple[str, Prepared]] = []
        for sample in samples[start : start + _BATCH]:
            try:
                study = sample.study(note=None)
                if study.modalities not in manifest.subsets:
                    study = study.only(frozenset({Modality.IMAGE}))
                each = engine.prepare(study)
                check_trained(manifest, each.subset, Ask())
            except FovealError:
                yield None
            else:
                prepared.append((sample.camera, each))
        outcomes = engine.run([each for _, each in prepared])
        for (camera, _), outcome in zip(prepared, outcomes, strict=True):
            reading = reading_of(outcome, grade(outcome, manifest, given=frozenset(Evidence)), manifest)
            yield None if reading is None else (camera or camera_of(reading.device, ""), reading)
