"""What the photographs look like that a bundle is judged on: counts, with which `foveal drift` compares a clinic's cameras."""

from __future__ import annotations

from pathlib import Path

from foveal_export.parity.novelty import MOST
from foveal_export.studies.cases import Chosen, photographs, sampled
from foveal_runtime.bundle.calibration import HeldOutPhotographs, Novelty
from foveal_runtime.drift.signals import GRID, Int64, steps
from foveal_runtime.drift.watch import counts_of, sparse
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.novelty import LEAST_HELD_OUT, TrainingPhotographs
from foveal_runtime.study.study import Modality

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
    for batch in photographs(engine, sampled(tuple(unseen.values()), MOST), _BATCH):
        away: list[float | None] = [None] * len(batch)
        if training is not None and novelty is not None:
            away = [float(each) / novelty.limit for each in training.distances(engine.image_features(batch))]
        for each, distance in zip(batch, away, strict=True):
            assert each.quality is not None
            found.append(steps(quality=each.quality, appearance=each.appearance, novelty=distance))
    if len(found) < LEAST_HELD_OUT:
        return None
    return HeldOutPhotographs(grid=GRID, photographs=len(found), counts=sparse(counts_of(found)))
