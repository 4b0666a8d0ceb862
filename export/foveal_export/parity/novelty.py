"""Fit a bundle's measure of unlikeness on its own image graph: what it was trained on, and where strangers begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foveal_export.studies.cases import Chosen, photographs, sampled
from foveal_runtime.bundle.calibration import Novelty
from foveal_runtime.engine import novelty
from foveal_runtime.engine.engine import Engine
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample

MOST = 400
"""Photographs of each split that are looked at."""
_BATCH = 8


def fit_novelty(engine: Engine, chosen: Chosen, folder: Path) -> Novelty | None:
    """Describe the training photographs and write them into the bundle.

    Args:
        engine: the artefact's.
        chosen: whose training split is described, and on whose validation split the limit is fitted.
        folder: of the bundle in the making.

    Returns:
        None where either split has too few gradable photographs, or the bundle has no image encoder.
    """
    if Modality.IMAGE not in engine.manifest.graphs:
        return None
    held_out_ND = _features(engine, sampled(chosen.validation, MOST))
    if len(held_out_ND) < novelty.LEAST_HELD_OUT:
        return None
    training_ND = _features(engine, sampled(chosen.calibration, MOST))
    if len(training_ND) < novelty.LEAST_TRAINING:
        return None
    training = novelty.fit_training(training_ND)
    training.write(folder)
    limit = novelty.fit_limit(training.distances(held_out_ND))
    return Novelty(file=novelty.FILE, limit=limit, studies=len(held_out_ND))


def _features(engine: Engine, samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """Of the gradable photographs."""
    rows: list[npt.NDArray[np.float64]] = []
    for batch in photographs(engine, samples, _BATCH):
        gradable = [each for each in batch if each.quality is Quality.GRADABLE]
        if gradable:
            rows.extend(engine.image_features(gradable))
    return np.asarray(rows).reshape(len(rows), -1)
