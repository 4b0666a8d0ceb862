"""The photographs that a model graded worst, for a reader to look at. Off unless asked for: they are of patients."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.study.labels import CLASSES, ICDR, MISSING
from foveal_runtime.study.study import Modality, subset_name
from foveal_train.evaluation.inputs import Trained
from foveal_train.model.model import MultimodalModel
from foveal_train.runs.predict import predict
from foveal_train.training.arrays import StudyArrays

_JPEG_QUALITY = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One photograph whose answered grade is not the reader's."""

    id: str
    truth: int
    answer: int
    probability: float
    """Of the answered grade, calibrated."""
    jpeg: bytes
    """The photograph as the model sees it."""


def worst_graded(model: MultimodalModel, arrays: StudyArrays, info: Trained, count: int) -> list[Mistake]:
    """The `count` worst: farthest from the reader's grade first, then the surest.

    Shown the photograph alone; none where that was not trained, or no ICDR head was.
    """
    alone = frozenset({Modality.IMAGE})
    if alone not in info.subsets or ICDR not in info.trained_heads:
        return []
    found = predict(model, arrays, subset=alone)
    calibration = info.calibration.get(subset_name(alone), SubsetCalibration())
    probabilities_NG = calibration.probabilities(ICDR, found.logits[ICDR])
    truth_N, answer_N = arrays.labels[ICDR][found.rows], probabilities_NG.argmax(1)
    far_N = np.where(truth_N == MISSING, 0, np.abs(truth_N - answer_N))
    worst = sorted(np.flatnonzero(far_N), key=lambda i: (-far_N[i], -probabilities_NG[i, answer_N[i]]))[:count]
    return [
        Mistake(
            id=arrays.ids[int(found.rows[i])],
            truth=int(truth_N[i]),
            answer=int(answer_N[i]),
            probability=float(probabilities_NG[i, answer_N[i]]),
            jpeg=_jpeg(arrays, int(found.rows[i])),
        )
        for i in worst
    ]


def _jpeg(arrays: StudyArrays, row: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(arrays.squares_NSSC[row])).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def mistakes_section(found: Sequence[Mistake]) -> str:
    """As the report shows them; "" without any."""
    if not found:
        return ""
    names = CLASSES[ICDR]
    shots = [
        f'<li><img src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}" '
        f'alt="Photograph {escape(one.id, quote=True)}"><strong>{escape(one.id)}</strong><br>'
        f"answered {one.answer}, {names[one.answer]} ({100 * one.probability:.0f} %)<br>"
        f"reader: {one.truth}, {names[one.truth]}</li>"
        for one in found
    ]
    lead = "Shown the photograph alone; farthest from the reader first. <b>Photographs of patients: keep the page as such.</b>"
    return f'<p>{lead}</p><ul class="shots">{"".join(shots)}</ul>'
