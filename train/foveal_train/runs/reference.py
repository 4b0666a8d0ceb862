"""The PyTorch reference path: studies to vectors and logits in FP32, by the runtime's own preprocessing. Trains nothing.

What every exported artefact is compared with, and what evaluation of a run uses. Shapes: N studies, B rows of a batch,
M = 3 modalities in the order of `Modality`, T tokens, D = 256, G grades.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from foveal_runtime.engine.answers import Prepared, VectorKind
from foveal_runtime.photo.imaging import load_square, standardise
from foveal_runtime.study.labels import Head
from foveal_runtime.study.notes import NoteTokeniser, pad_notes
from foveal_runtime.study.record import encode_record
from foveal_runtime.study.study import Modality, Study, Subset
from foveal_train.model.model import ModelInputs, MultimodalModel
from foveal_train.runs.run import RunInfo

Float32 = npt.NDArray[np.float32]

ALONE_KINDS = frozenset({VectorKind.IMAGE, VectorKind.TEXT, VectorKind.STRUCTURED})
"""Vectors of passes that see one modality."""
ALL_KINDS = frozenset(VectorKind)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceOutputs:
    """What the model says of N studies."""

    joint_ND: Float32
    """Unit joint vectors of one pass over everything given."""
    alone_NMD: Float32
    """Unit CLS vectors of passes that see one modality alone; zeros where the study lacks it or it was not asked for."""
    cls_NMD: Float32
    """Unit CLS vectors of the joint pass, in which the modalities have attended to each other; zeros where absent."""
    logits: dict[Head, Float32]
    """Raw logits [N, G] of both heads; an untrained head's are noise, `RunInfo.trained_heads` says which."""
    subsets: tuple[Subset, ...]
    """Modalities of each study."""


class Reference:
    """A model on PyTorch, fed with studies."""

    def __init__(
        self,
        model: MultimodalModel,
        tokenizer_json: bytes,
        info: RunInfo,
        *,
        pad_notes_to: int | None = None,
    ) -> None:
        """Args:
        model: used in evaluation mode, on the device it is on.
        tokenizer_json: the run's; empty for a model that reads no notes.
        info: the run's description; its configuration and feature statistics are used.
        pad_notes_to: pad every note to this many tokens, as the paper's code does; None pads to the longest of a batch.
        """
        self.model = model.eval()
        self._config = info.model
        self._features = info.features
        self._tokenise = NoteTokeniser(tokenizer_json, info.model.text_spec) if tokenizer_json else None
        self._pad_to = pad_notes_to
        self._device = next(model.parameters()).device

    def prepare(self, study: Study) -> Prepared:
        """Decode, tokenise and standardise one study, exactly as the runtime does.

        Raises:
            StudyError: no modality, or one that is malformed.
        """
        study.validate()
        subset = study.modalities
        pixels_CHW = ids_T = features_F = None
        truncated = False
        imputed: tuple[str, ...] = ()
        if study.image is not None and Modality.IMAGE in subset:
            spec = self._config.image_spec
            pixels_CHW = standardise(load_square(study.image, spec), spec)
        if study.note is not None and Modality.TEXT in subset:
            assert self._tokenise is not None
            note = self._tokenise(study.note)
            ids_T, truncated = note.ids_T, note.truncated
        if study.record is not None and Modality.STRUCTURED in subset:
            record = encode_record(study.record, self._features)
            features_F, imputed = record.features_F, record.imputed
        return Prepared(
            subset=subset, pixels_CHW=pixels_CHW, ids_T=ids_T, features_F=features_F, imputed=imputed, truncated=truncated
        )

    def run(self, studies: Iterable[Study], kinds: frozenset[VectorKind] = ALL_KINDS, *, batch: int = 16) -> ReferenceOutputs:
        """Studies to outputs, `batch` at a time; images are decoded a batch at a time too.

        Raises:
            StudyError: a study has no modality, or one that is malformed.
        """
        return self.run_prepared((self.prepare(study) for study in studies), kinds, batch=batch)

    def run_prepared(
        self, prepared: Iterable[Prepared], kinds: frozenset[VectorKind] = ALL_KINDS, *, batch: int = 16
    ) -> ReferenceOutputs:
        """As `run`, of studies that `prepare` (or the runtime's engine, with the same preprocessing) made ready."""
        parts = [self._batch(rows, kinds) for rows in _batches(prepared, batch)]
        if not parts:
            parts = [_empty(self.model)]
        return ReferenceOutputs(
            joint_ND=np.concatenate([part.joint_ND for part in parts]),
            alone_NMD=np.concatenate([part.alone_NMD for part in parts]),
            cls_NMD=np.concatenate([part.cls_NMD for part in parts]),
            logits={head: np.concatenate([part.logits[head] for part in parts]) for head in parts[0].logits},
            subsets=tuple(subset for part in parts for subset in part.subsets),
        )

    @torch.inference_mode()
    def _batch(self, rows: Sequence[Prepared], kinds: frozenset[VectorKind]) -> ReferenceOutputs:
        inputs = self.inputs(rows)
        encoded = self.model.encode(inputs)
        fused = self.model.fuse(encoded, inputs.present_BM)
        cls_BMD = fused.cls_BMD.float().cpu().numpy()
        alone_BMD = np.zeros_like(cls_BMD)
        for column, modality in enumerate(Modality):
            wanted = [modality in item.subset for item in rows]
            if VectorKind(modality.value) not in kinds or not any(wanted):
                continue
            rows_B = torch.tensor(wanted, device=self._device)
            alone = self.model.alone(encoded, rows_B, modality).cls_BMD[:, column]
            alone_BMD[np.asarray(wanted), column] = alone.float().cpu().numpy()
        return ReferenceOutputs(
            joint_ND=fused.joint_BD.float().cpu().numpy(),
            alone_NMD=alone_BMD,
            cls_NMD=cls_BMD,
            logits={head: logits_BG.float().cpu().numpy() for head, logits_BG in fused.logits.items()},
            subsets=tuple(item.subset for item in rows),
        )

    def inputs(self, rows: Sequence[Prepared]) -> ModelInputs:
        """One batch as the model's input tensors; rows that lack a modality hold zeros and are masked."""
        present_BM = torch.tensor([[modality in item.subset for modality in Modality] for item in rows])
        pixels = ids = mask = features = None
        if any(item.pixels_CHW is not None for item in rows):
            side = self._config.image_spec.side_px
            blank = np.zeros((3, side, side), np.float32)
            pixels = torch.from_numpy(np.stack([blank if item.pixels_CHW is None else item.pixels_CHW for item in rows]))
        if any(item.ids_T is not None for item in rows):
            empty = np.zeros(1, np.int64)
            ids_BT, mask_BT = pad_notes([empty if item.ids_T is None else item.ids_T for item in rows])
            if self._pad_to is not None and ids_BT.shape[1] < self._pad_to:
                wider = ((0, 0), (0, self._pad_to - ids_BT.shape[1]))
                ids_BT, mask_BT = np.pad(ids_BT, wider), np.pad(mask_BT, wider)
            ids, mask = torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)
        if any(item.features_F is not None for item in rows):
            missing = np.zeros(len(self._features.spec.features), np.float32)
            features = torch.from_numpy(np.stack([missing if item.features_F is None else item.features_F for item in rows]))
        device = self._device
        return ModelInputs(
            present_BM=present_BM.to(device),
            pixels_BCHW=None if pixels is None else pixels.to(device),
            input_ids_BT=None if ids is None else ids.to(device),
            attention_mask_BT=None if mask is None else mask.to(device),
            features_BF=None if features is None else features.to(device),
        )


def _batches(prepared: Iterable[Prepared], size: int) -> Iterator[list[Prepared]]:
    iterator = iter(prepared)
    while rows := list(islice(iterator, size)):
        yield rows


def _empty(model: MultimodalModel) -> ReferenceOutputs:
    vectors = np.zeros((0, len(Modality), model.embedding_dim), np.float32)
    return ReferenceOutputs(
        joint_ND=vectors[:, 0],
        alone_NMD=vectors,
        cls_NMD=vectors,
        logits=model.no_logits(),
        subsets=(),
    )
