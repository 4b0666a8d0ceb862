"""What the photographs look like that a bundle is judged on: counts, with which `foveal drift` compares a clinic's cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from foveal_export.parity.novelty import MOST
from foveal_export.studies.cases import Chosen, sampled
from foveal_runtime.bundle.calibration import HeldOutPhotographs, Novelty
from foveal_runtime.drift.signals import GRID, Int64, steps
from foveal_runtime.drift.watch import counts_of, sparse
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import LEAST_HELD_OUT, TrainingPhotographs
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample

_BATCH = 8


def count_held_out(engine: Engine, chosen: Chosen, novelty: Novelty | None, folder: Path) -> HeldOutPhotographs | None:
    """Count the photographs of validation and verdict, gradable or not.

    Args:
        engine: the artefact's.
        chosen: whose studies nobody trained on.
        novelty: the bundle's measure of unlikeness, which lies in the folder.
        folder: of the bundle in the making.

    Returns:
        None where there are too few photographs, or the bundle has no image encoder.
    """
    if Modality.IMAGE not in engine.manifest.graphs:
        return None
    training = None if novelty is None else TrainingPhotographs.read((folder / novelty.file).read_bytes())
    found: list[Int64] = []
    unseen = {sample.id: sample for sample in (*chosen.validation, *chosen.parity)}
    for batch in _prepared(engine, sampled(tuple(unseen.values()), MOST)):
        away: list[float | None] = [None] * len(batch)
        if training is not None and novelty is not None:
            away = [float(each) / novelty.limit for each in training.distances(engine.image_features(batch))]
        for each, distance in zip(batch, away, strict=True):
            assert each.quality is not None
            found.append(steps(quality=each.quality, appearance=each.appearance, novelty=distance))
    if len(found) < LEAST_HELD_OUT:
        return None
    return HeldOutPhotographs(grid=GRID, photographs=len(found), counts=sparse(counts_of(found)))


def _prepared(engine: Engine, samples: Sequence[Sample]) -> Iterator[list[Prepared]]:
    pictured = [sample for sample in samples if sample.image_path is not None]
    for start in range(0, len(pictured), _BATCH):
        batch = []
        for sample in pictured[start : start + _BATCH]:
            try:
                batch.append(engine.prepare(sample.study().only(frozenset({Modality.IMAGE}))))
            except FovealError:
                continue  # training left it out as well, or refused the data set for it
        if batch:
            yield batch
