"""The model's answers over arrays, in evaluation mode, on its device: logits and vectors for others to judge. Measures nothing.

`predict` makes one pass. `predict_each` makes many over the same studies and encodes each photograph once: evaluation shows a
study in up to nine ways, and the image encoder is most of the cost of each.
Shapes: N rows asked for, M = 3 modalities, D = 256, G grades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality, Subset
from foveal_train.model.fusion import Fused
from foveal_train.model.model import MultimodalModel
from foveal_train.training.arrays import StudyArrays

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
                model(arrays.inputs(rows[start : start + batch_size], subset=subset).to(_device(model)))
                for start in range(0, len(rows), batch_size)
            ]
    finally:
        model.train(was_training)
    return _collect(model, rows, parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Showing:
    """What the model is shown of each study in one pass."""

    present_NM: npt.NDArray[np.bool_]
    """Never more than the arrays hold; a study of which nothing is shown is left out."""
    notes: StudyArrays | None = None
    """The same studies with other notes, from which the text is taken; None takes it from the arrays themselves."""


def predict_each(
    model: MultimodalModel,
    arrays: StudyArrays,
    showings: Sequence[Showing],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[Predictions]:
    """Run `model` over the same studies shown in several ways.

    Args:
        model: its mode is restored afterwards.
        arrays: studies.
        showings: what is shown in each pass.
        batch_size: rows encoded at a time.
        progress: called with (done, total) rows.

    Returns:
        Predictions in the order of `showings`, their rows in the order of the arrays.
    """
    parts: list[list[Fused]] = [[] for _ in showings]
    kept: list[list[npt.NDArray[np.int64]]] = [[] for _ in showings]
    asked_NM = np.logical_or.reduce([showing.present_NM for showing in showings]) if showings else np.zeros((0, len(Modality)))
    rows = np.flatnonzero(asked_NM.any(axis=1))
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                encoded = _encode(model, arrays, showings, batch)
                for number, showing in enumerate(showings):
                    shown_BM = showing.present_NM[batch]
                    here = np.flatnonzero(shown_BM.any(axis=1))
                    if here.size:
                        index = torch.from_numpy(here).to(_device(model))
                        tokens = {
                            modality: (tokens[index], mask[index])
                            for column, modality in enumerate(Modality)
                            if shown_BM[:, column].any()
                            for tokens, mask in [encoded[_source(showing, modality)][modality]]
                        }
                        parts[number].append(model.fuse(tokens, torch.from_numpy(shown_BM[here]).to(_device(model))))
                        kept[number].append(batch[here])
                if progress is not None:
                    progress(start + len(batch), len(rows))
    finally:
        model.train(was_training)
    return [_collect(model, np.concatenate([*own, np.zeros(0, np.int64)]), part) for own, part in zip(kept, parts, strict=True)]


def _device(model: MultimodalModel) -> torch.device:
    return next(model.parameters()).device


_OWN = -1
Encoded = dict[Modality, tuple[torch.Tensor, torch.Tensor]]


def _source(showing: Showing, modality: Modality) -> int:
    """Which arrays a modality is encoded from: the studies' own, or those that bring other notes."""
    return _OWN if showing.notes is None or modality is not Modality.TEXT else id(showing.notes)


def _encode(
    model: MultimodalModel, arrays: StudyArrays, showings: Sequence[Showing], batch: npt.NDArray[np.int64]
) -> dict[int, Encoded]:
    """Tokens of what any showing needs of a batch, by source."""
    needed: dict[int, npt.NDArray[np.bool_]] = {}
    studies: dict[int, StudyArrays] = {_OWN: arrays}
    for showing in showings:
        for column, modality in enumerate(Modality):
            source = _source(showing, modality)
            if showing.notes is not None and source != _OWN:
                studies[source] = showing.notes
            mask_NM = needed.setdefault(source, np.zeros(arrays.present_NM.shape, bool))
            mask_NM[batch, column] |= showing.present_NM[batch, column]
    return {
        source: model.encode(replace(studies[source], present_NM=mask_NM).inputs(batch).to(_device(model)))
        for source, mask_NM in needed.items()
        if mask_NM[batch].any()
    }


def _collect(model: MultimodalModel, rows: npt.NDArray[np.int64], parts: list[Fused]) -> Predictions:
    """The passes over all batches as one."""
    if not parts:
        dim = model.embedding_dim
        return Predictions(
            rows=rows,
            logits=model.no_logits(),
            joint_ND=np.zeros((0, dim), np.float32),
            cls_NMD=np.zeros((0, len(Modality), dim), np.float32),
        )

    def whole(tensors: Iterable[torch.Tensor]) -> Float32:
        return np.asarray(torch.cat(list(tensors)).float().cpu().numpy())

    return Predictions(
        rows=rows,
        logits={head: whole(part.logits[head] for part in parts) for head in parts[0].logits},
        joint_ND=whole(part.joint_BD for part in parts),
        cls_NMD=whole(part.cls_BMD for part in parts),
    )
