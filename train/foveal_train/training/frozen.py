"""Outputs of frozen blocks, kept so that each study passes them once and not once an epoch. Trains nothing.

Right only while a study's input never changes: no augmentation, frozen parts in evaluation mode. Photographs' states go to a
memory-mapped file (ViT-B/16: 605 kB a photograph, 9.8 GB for BRSET), notes' states stay in memory, one a distinct note.
Shapes: N studies, B rows of a batch, T tokens, F the backbone's width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal_runtime.study.study import Modality
from foveal_train.model.encoders import leading_frozen
from foveal_train.model.model import ModelInputs, MultimodalModel
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.scratch import scratch_array

_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenStates:
    """States by study; None for an encoder without frozen blocks."""

    image_NTF: npt.NDArray[np.float32] | None
    text: dict[int, Tensor] | None
    """States `[T, F]` of each note group, unpadded."""

    def given_to(self, inputs: ModelInputs, arrays: StudyArrays, rows: npt.NDArray[np.int64]) -> ModelInputs:
        """The same inputs with the states of `rows` in place of what the frozen blocks would make of them."""
        image = text = None
        device = inputs.present_BM.device
        if self.image_NTF is not None and inputs.pixels_BCHW is not None:
            image = torch.from_numpy(np.ascontiguousarray(self.image_NTF[rows])).to(device)
        if self.text is not None and inputs.attention_mask_BT is not None:
            width = next(iter(self.text.values())).shape[1]
            text = torch.zeros((*inputs.attention_mask_BT.shape, width), device=device)
            for place, row in enumerate(rows):
                states_TF = self.text.get(int(arrays.note_groups_N[row]))
                if states_TF is not None:
                    text[place, : states_TF.shape[0]] = states_TF
        return replace(inputs, image_states_BTF=image, text_states_BTF=text)


def frozen_states(
    model: MultimodalModel, arrays: StudyArrays, cache: Path | None, *, stripped: StudyArrays | None = None
) -> FrozenStates:
    """Pass every study through the frozen blocks once.

    Args:
        model: its mode is restored afterwards.
        arrays: studies, not augmented.
        stripped: the same studies with the other notes that training will show.
        cache: file for the photographs' states; None keeps them in memory.

    Raises:
        DataError: the disk has no room for the file.
    """
    was_training = model.training
    model.eval()
    try:
        notes = _notes(model, arrays)
        if notes is not None and stripped is not None:
            notes |= _notes(model, stripped) or {}
        return FrozenStates(image_NTF=_images(model, arrays, cache), text=notes)
    finally:
        model.train(was_training)


def _images(model: MultimodalModel, arrays: StudyArrays, cache: Path | None) -> npt.NDArray[np.float32] | None:
    encoder = model.image
    if not encoder.family.caches_frozen or not arrays.rows(Modality.IMAGE).any():
        return None
    if not leading_frozen(encoder.backbone.blocks):
        return None
    able = np.flatnonzero(arrays.rows(Modality.IMAGE))
    device = next(encoder.parameters()).device
    states: npt.NDArray[np.float32] | None = None
    for start in range(0, len(able), _BATCH):
        rows = able[start : start + _BATCH]
        pixels = arrays.inputs(rows, subset=frozenset({Modality.IMAGE})).pixels_BCHW
        assert pixels is not None
        found = encoder.frozen_part(pixels.to(device)).float().cpu().numpy()
        if states is None:
            states = _room((len(arrays), *found.shape[1:]), cache)
        states[rows] = found
    return states


def _room(shape: tuple[int, ...], cache: Path | None) -> npt.NDArray[np.float32]:
    if cache is None:
        return np.zeros(shape, np.float32)
    return scratch_array(cache, shape, np.float32, instead="or train without optimiser.cache_frozen")


def _notes(model: MultimodalModel, arrays: StudyArrays) -> dict[int, Tensor] | None:
    layers: Any = model.text.bert.get_submodule("encoder").layer
    able = np.flatnonzero(arrays.rows(Modality.TEXT))
    if not leading_frozen(layers) or not len(able):
        return None
    device = next(model.text.parameters()).device
    groups, first = np.unique(arrays.note_groups_N[able], return_index=True)
    states: dict[int, Tensor] = {}
    for group, row in zip(groups, able[first], strict=True):
        ids_1T = torch.from_numpy(arrays.notes[row])[None].to(device)
        states[int(group)] = model.text.frozen_part(ids_1T, torch.ones_like(ids_1T))[0].float().cpu()
    return states
