"""The training objective: which passes a batch makes through the model, and how their losses add up (paper, section III-C).

Shapes: B studies, M = 3 modalities, D = 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal_runtime.labels import Head
from foveal_runtime.study import Modality
from foveal_train.fusion import Fused
from foveal_train.losses import contrastive_loss, grading_loss
from foveal_train.model import ModelInputs, MultimodalModel
from foveal_train.recipe import Alignment, LossConfig, Weighting

PAIRS: dict[str, tuple[Modality, Modality]] = {
    "image_text": (Modality.IMAGE, Modality.TEXT),
    "image_structured": (Modality.IMAGE, Modality.STRUCTURED),
    "text_structured": (Modality.TEXT, Modality.STRUCTURED),
}
LOSSES = ("classification", *PAIRS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Inputs and labels of a training step."""

    inputs: ModelInputs
    labels: Mapping[Head, Tensor]
    """Grades by head, `MISSING` where unknown."""
    note_groups_B: Tensor
    shown_BM: Tensor | None = None
    """bool: what the joint pass shows of `inputs.present_BM`; None shows everything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The total and its parts; a part that no study of the batch could give is missing."""

    total: Tensor
    parts: dict[str, Tensor]
    weights: dict[str, float]


class Objective(nn.Module):
    """Wraps the model: its forward pass computes every loss, so that data parallelism sees one call a step."""

    def __init__(
        self,
        model: MultimodalModel,
        config: LossConfig,
        alignment: Alignment,
        heads: tuple[Head, ...],
        class_weights: Mapping[Head, Tensor | None],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.alignment = alignment
        self.heads = heads
        self.class_weights = dict(class_weights)
        self.alpha = nn.Parameter(torch.zeros(len(LOSSES)), requires_grad=config.weighting is not Weighting.FIXED)
        """Softmax logits (paper, equation 1) or log variances (Kendall et al. 2018), in the order of `LOSSES`."""

    def forward(self, batch: Batch) -> Losses:
        """All losses of one batch."""
        encoded = self.model.encode(batch.inputs)
        present_BM = batch.inputs.present_BM
        shown_BM = present_BM if batch.shown_BM is None else batch.shown_BM
        joint = self.model.fuse(encoded, shown_BM)
        everyone = torch.ones(present_BM.shape[0], dtype=torch.bool)
        graded: list[tuple[Fused, Tensor]] = [(joint, everyone)]
        vectors: dict[Modality, Tensor] = {}
        if len(encoded) > 1 and self.alignment is Alignment.INDEPENDENT:
            for column, modality in enumerate(Modality):
                rows_B = present_BM[:, column]
                if modality not in encoded or not bool(rows_B.any()):
                    continue
                alone = self.model.alone(encoded, rows_B, modality)
                graded.append((alone, rows_B))
                cls_BD = alone.cls_BMD[:, column]
                whole = cls_BD.new_zeros((present_BM.shape[0], cls_BD.shape[1]))
                vectors[modality] = whole.index_copy(0, rows_B.nonzero().squeeze(1), cls_BD)
        elif len(encoded) > 1:
            # The joint protocol compares CLS vectors of a pass that saw everything, whatever the dropout showed above.
            full = joint if batch.shown_BM is None else self.model.fuse(encoded, present_BM)
            vectors = {m: full.cls_BMD[:, i] for i, m in enumerate(Modality) if m in encoded}
        parts = {**self._classification(graded, batch.labels), **self._alignment(vectors, present_BM, batch.note_groups_B)}
        return self._weigh(parts)

    def _classification(self, graded: list[tuple[Fused, Tensor]], labels: Mapping[Head, Tensor]) -> dict[str, Tensor]:
        """Every pass that was made is graded: the subsets it stands for are then trained, not hoped for."""
        losses: list[Tensor] = []
        for fused, rows_B in graded:
            for head in self.heads:
                logits = fused.icdr_BG if head is Head.ICDR else fused.sdrg_BG
                loss = grading_loss(
                    logits,
                    labels[head][rows_B],
                    class_weights_G=self.class_weights.get(head),
                    label_smoothing=self.config.label_smoothing,
                    ordinal=self.config.ordinal,
                )
                if loss is not None:
                    losses.append(loss)
        return {"classification": torch.stack(losses).mean()} if losses else {}

    def _alignment(self, vectors: Mapping[Modality, Tensor], present_BM: Tensor, note_groups_B: Tensor) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        order = list(Modality)
        for name, (a, b) in PAIRS.items():
            if getattr(self.config, name) == 0 or a not in vectors or b not in vectors:
                continue
            both_B = present_BM[:, order.index(a)] & present_BM[:, order.index(b)]
            rows = torch.arange(present_BM.shape[0])
            grouped = Modality.TEXT in (a, b) and self.config.identical_notes_are_positives
            groups_B = note_groups_B if grouped else rows
            loss = contrastive_loss(
                vectors[a][both_B], vectors[b][both_B], groups_B[both_B], temperature=self.config.temperature
            )
            if loss is not None:
                parts[name] = loss
        return parts

    def _weigh(self, parts: dict[str, Tensor]) -> Losses:
        fixed = {name: float(getattr(self.config, name)) for name in LOSSES}
        if self.config.weighting is Weighting.SOFTMAX:
            shares = self.alpha.softmax(0)
            scale = {name: shares[i] * fixed[name] for i, name in enumerate(LOSSES)}
            total = sum((scale[name] * loss for name, loss in parts.items()), torch.zeros(()))
        elif self.config.weighting is Weighting.UNCERTAINTY:
            scale = {name: torch.exp(-self.alpha[i]) * fixed[name] for i, name in enumerate(LOSSES)}
            offsets = sum((self.alpha[LOSSES.index(name)] for name in parts), torch.zeros(()))
            total = sum((scale[name] * loss for name, loss in parts.items()), torch.zeros(())) + offsets
        else:
            scale = {name: torch.tensor(fixed[name]) for name in LOSSES}
            total = sum((scale[name] * loss for name, loss in parts.items()), torch.zeros(()))
        return Losses(total=total, parts=parts, weights={name: float(scale[name].detach()) for name in parts})


def drop_modalities(present_BM: Tensor, share: float) -> Tensor:
    """Show a random non-empty proper subset of their modalities for about `share` of the rows that have several.

    Every proper subset is equally likely. Draws from torch's global generator.
    """
    shown_BM = present_BM.clone()
    for row in range(present_BM.shape[0]):
        here = present_BM[row].nonzero().squeeze(1)
        count = here.numel()
        if count < 2 or float(torch.rand(())) >= share:
            continue
        code = int(torch.randint(1, 2**count - 1, ()))  # a bit a modality; neither none nor all
        for bit in range(count):
            if not code >> bit & 1:
                shown_BM[row, here[bit]] = False
    return shown_BM
