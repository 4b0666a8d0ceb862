"""The model's answers over arrays, in evaluation mode: logits and vectors for evaluation and calibration. Measures nothing.

Shapes: N rows asked for, M = 3 modalities, D = 256, G grades.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from foveal_runtime.labels import Head
from foveal_runtime.study import Modality, Subset
from foveal_train.arrays import StudyArrays
from foveal_train.fusion import Fused
from foveal_train.model import MultimodalModel

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """One pass over some rows."""

    rows: npt.NDArray[np.int64]
    """Which rows of the arrays these are."""
    logits: dict[Head, Float32]
    joint_ND: Float32
    """Unit vectors."""
    cls_NMD: Float32
    """CLS of each modality in that same pass, unit vectors; zeros where the modality was not shown."""


def predict(
    model: MultimodalModel,
    arrays: StudyArrays,
    *,
    subset: Subset | None = None,
    rows: npt.NDArray[np.int64] | None = None,
    batch_size: int = 32,
) -> Predictions:
    """Run `model` over rows of `arrays`.

    Args:
        model: its mode is restored afterwards.
        arrays: studies.
        subset: show these modalities alone, and only rows that have all of them; None shows each row everything it has.
        rows: which rows; None takes every row that has the modalities (any, when `subset` is None).
        batch_size: rows a pass.
    """
    if rows is None:
        able = arrays.present_NM.any(axis=1) if subset is None else arrays.has(subset)
        rows = np.flatnonzero(able)
    was_training = model.training
    model.eval()
    parts: list[Fused]
    try:
        with torch.inference_mode():
            parts = [
                model(arrays.inputs(rows[start : start + batch_size], subset=subset))
                for start in range(0, len(rows), batch_size)
            ]
    finally:
        model.train(was_training)
    if not parts:
        dim = model.fusion.join.out_features
        return Predictions(
            rows=rows,
            logits={head: np.zeros((0, model.fusion.head_icdr.out_features), np.float32) for head in Head},
            joint_ND=np.zeros((0, dim), np.float32),
            cls_NMD=np.zeros((0, len(Modality), dim), np.float32),
        )
    joint, cls, icdr, sdrg = (torch.cat([part[i] for part in parts]).float().numpy() for i in range(4))
    return Predictions(rows=rows, logits={Head.ICDR: icdr, Head.SDRG: sdrg}, joint_ND=joint, cls_NMD=cls)
