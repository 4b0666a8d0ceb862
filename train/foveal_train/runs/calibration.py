"""Fit what makes logits readable on validation data, with the runtime's own fits. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.engine.fits import fit_subset
from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Subset, subset_name
from foveal_train.model.model import MultimodalModel
from foveal_train.runs.predict import Showing, predict_each
from foveal_train.training.arrays import StudyArrays


def fit(
    model: MultimodalModel, validation: StudyArrays, heads: Sequence[Head], subsets: Sequence[Subset]
) -> dict[str, SubsetCalibration]:
    """Calibrate every trained subset on validation data.

    Args:
        model: its mode is restored afterwards.
        validation: studies that training did not learn from.
        heads: trained heads; others get no temperature.
        subsets: trained modality subsets.

    Returns:
        By `subset_name`. A subset that too few labelled validation studies have keeps temperature 1.0 and the default
        threshold 0.5, marked by `studies=0`.
    """
    calibrated: dict[str, SubsetCalibration] = {}
    showings = [Showing(present_NM=validation.showing(subset)) for subset in subsets]
    for subset, predictions in zip(subsets, predict_each(model, validation, showings), strict=True):
        labels = {head: validation.labels[head][predictions.rows] for head in heads}
        patients = [validation.samples[row].patient_id for row in predictions.rows]
        calibrated[subset_name(subset)] = fit_subset({head: predictions.logits[head] for head in heads}, labels, patients)
    return calibrated
