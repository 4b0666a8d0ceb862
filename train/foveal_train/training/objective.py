"""The training objective: which passes a batch makes through the model, and how their losses add up (paper, section III-C).

Shapes: B studies, M = 3 modalities, D = 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveal_runtime.study.labels import MISSING, SCHEMES, Head
from foveal_runtime.study.study import Modality
from foveal_train.data.lesions import KINDS
from foveal_train.model.decoders import ImageDecoder, TextDecoder, image_reconstruction_loss, text_reconstruction_loss
from foveal_train.model.fusion import Fused
from foveal_train.model.model import ModelInputs, MultimodalModel, index_of
from foveal_train.model.profile import EMBEDDING_DIM
from foveal_train.training.arrays import NO_NOTE
from foveal_train.training.distillation import GRADES_LOSS, VECTORS_LOSS, BatchTargets, Pass, distillation_losses
from foveal_train.training.gather import gather_rows, processes, times_processes
from foveal_train.training.lesions import LESIONS_LOSS, BatchLesions, lesion_loss
from foveal_train.training.losses import alignment_loss, known_grading_loss, positives
from foveal_train.training.recipe import Alignment, Recipe, Weighting

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Groups = npt.NDArray[np.int64]
PAIRS: dict[str, tuple[Modality, Modality]] = {
    "image_text": (Modality.IMAGE, Modality.TEXT),
    "image_structured": (Modality.IMAGE, Modality.STRUCTURED),
    "text_structured": (Modality.TEXT, Modality.STRUCTURED),
}
RECONSTRUCTIONS: dict[str, Modality] = {"image_reconstruction": Modality.IMAGE, "text_reconstruction": Modality.TEXT}
LOSSES = ("classification", *PAIRS, *RECONSTRUCTIONS)
"""The six of the paper's equation (1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Inputs and labels of a training step. Labels and groups stay on the host, where they are looked at."""

    inputs: ModelInputs
    labels: Mapping[Head, Tensor]
    """Grades by head, `MISSING` where unknown."""
    note_groups_B: Tensor
    record_groups_B: Tensor | None = None
    """Equal for studies whose records are the same; None takes each for another."""
    shown_BM: Tensor | None = None
    """bool: what the joint pass shows of `inputs.present_BM`; None shows everything."""
    targets: BatchTargets | None = None
    """Of teachers; None where there are none."""
    lesions: BatchLesions | None = None
    """Maps of some rows, as their photographs are shown; None where none has one."""

    def to(self, device: torch.device) -> Batch:
        """The same batch with what the model is shown on another device."""
        shown_BM = None if self.shown_BM is None else self.shown_BM.to(device, non_blocking=True)
        return replace(self, inputs=self.inputs.to(device), shown_BM=shown_BM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The total and its parts; a part that no study of the batch could give is missing."""

    total: Tensor
    parts: dict[str, Tensor]
    weights: dict[str, Tensor]


class _Graded(NamedTuple):
    """A pass of a batch: of all rows as the joint pass shows them, or of `rows` showing one modality, the `column`-th."""

    fused: Fused
    rows: Rows | None = None
    column: int | None = None


class Objective(nn.Module):
    """Wraps the model: its forward pass computes every loss, so that data parallelism sees one call a step.

    Owns what training alone needs: the loss weights, and the decoders that the recipe asks for.
    """

    def __init__(
        self,
        model: MultimodalModel,
        recipe: Recipe,
        heads: tuple[Head, ...],
        class_weights: Mapping[Head, Tensor | None],
        prior: Mapping[Head, Tensor] | None = None,
    ) -> None:
        """Args:
        model: what is trained.
        recipe: the losses, their weights and the decoders.
        heads: heads to train.
        class_weights: of each grade in the cross-entropy, by head.
        prior: what is added to each head's logits after training; None adds nothing. Teachers' targets are compared so.
        """
        super().__init__()
        self.model = model
        self.config = recipe.losses
        self.alignment = recipe.alignment
        self.heads = heads
        self.modalities = recipe.modalities
        self.class_weights = dict(class_weights)
        self.distillation = recipe.distillation
        self.prior = {head: (prior or {}).get(head, torch.zeros(model.fusion.classes[head])) for head in heads}
        self.alpha = nn.Parameter(torch.zeros(len(LOSSES)), requires_grad=self.config.weighting is not Weighting.FIXED)
        """Softmax logits (paper, equation 1) or log variances (Kendall et al. 2018), in the order of `LOSSES`."""
        self.fixed: Tensor
        self.register_buffer("fixed", torch.tensor([float(getattr(self.config, name)) for name in LOSSES]), persistent=False)
        spec, shown = recipe.model, recipe.modalities
        self.lesion_head = nn.Linear(EMBEDDING_DIM, len(KINDS)) if self.config.lesions else None
        self.image_decoder = self.text_decoder = None
        if self.config.image_reconstruction and Modality.IMAGE in shown:
            self.image_decoder = ImageDecoder(spec.image_spec.side_px, recipe.decoders)
        if self.config.text_reconstruction and Modality.TEXT in shown:
            vocabulary = model.text.bert.get_input_embeddings().num_embeddings  # type: ignore[operator]
            self.text_decoder = TextDecoder(vocabulary, spec.text_spec.max_tokens, recipe.decoders)

    def forward(self, batch: Batch) -> Losses:
        """All losses of one batch."""
        encoded = self.model.encode(batch.inputs)
        present_BM, known_BM = batch.inputs.present_BM, batch.inputs.on_host()
        shown_BM = present_BM if batch.shown_BM is None else batch.shown_BM
        joint = self.model.fuse(encoded, shown_BM)
        graded = [_Graded(joint)]
        vectors: dict[Modality, Tensor] = {}
        if len(encoded) > 1 and self.alignment is Alignment.INDEPENDENT:
            for column, modality in enumerate(Modality):
                rows_B = known_BM[:, column]
                if modality not in encoded or not rows_B.any():
                    continue
                alone = self.model.alone(encoded, rows_B, modality)
                graded.append(_Graded(alone, np.flatnonzero(rows_B), column))
                cls_BD = alone.cls_BMD[:, column]
                whole = cls_BD.new_zeros((present_BM.shape[0], cls_BD.shape[1]))
                vectors[modality] = whole.index_copy(0, index_of(rows_B, cls_BD.device), cls_BD)
        else:
            # The joint protocol compares CLS vectors of a pass that saw everything, whatever the dropout showed above. A lone
            # modality is never dropped: it was seen.
            full = joint if batch.shown_BM is None or len(encoded) == 1 else self.model.fuse(encoded, present_BM)
            vectors = {m: full.cls_BMD[:, i] for i, m in enumerate(Modality) if m in encoded}
        parts = {
            **self._classification(graded, batch.labels),
            **self._alignment(vectors, known_BM, batch.note_groups_B, batch.record_groups_B),
            **self._reconstruction(vectors, batch.inputs),
        }
        losses = self._weigh(parts)
        if batch.targets is not None:
            losses = self._taught(losses, graded, batch.targets)
        if batch.lesions is not None and self.lesion_head is not None and Modality.IMAGE in encoded:
            tokens_BTD = encoded[Modality.IMAGE][0][batch.lesions.rows, 1:]
            loss = lesion_loss(self.lesion_head(tokens_BTD), batch.lesions.maps_BKRR)
            losses = _with(losses, {LESIONS_LOSS: loss}, {LESIONS_LOSS: self.config.lesions})
        if losses.total.requires_grad or not torch.is_grad_enabled():
            return losses
        # No study of the batch has a label or a partner: nothing to learn, yet every process takes its step.
        return replace(losses, total=losses.total + 0 * joint.joint_BD.sum())

    def _taught(self, losses: Losses, graded: Sequence[_Graded], targets: BatchTargets) -> Losses:
        """`losses` and those of distillation, whose weights are fixed: no learnt weight can starve them."""
        every = np.arange(len(targets.codes_B))
        passes = [
            Pass(fused, every, targets.codes_B)
            if rows is None or column is None
            else Pass(fused, rows, np.full(len(rows), 1 << column))
            for fused, rows, column in graded
        ]
        parts = distillation_losses(passes, targets, self.distillation, self.prior)
        return _with(losses, parts, {GRADES_LOSS: self.distillation.grades, VECTORS_LOSS: self.distillation.vectors})

    def _classification(self, graded: Sequence[_Graded], labels: Mapping[Head, Tensor]) -> dict[str, Tensor]:
        """Every pass that was made is graded: its subsets are then trained, not hoped for. Schemes come first."""
        losses: dict[bool, list[Tensor]] = {True: [], False: []}
        for fused, rows, _ in graded:
            for head in self.heads:
                logits, labels_B = fused.logits[head], labels[head].numpy()
                labels_B = labels_B if rows is None else labels_B[rows]
                known_B = labels_B != MISSING
                if not known_B.any():
                    continue
                weights = self.class_weights.get(head)
                loss = known_grading_loss(
                    logits[index_of(known_B, logits.device)],
                    torch.from_numpy(labels_B[known_B]).to(logits.device, non_blocking=True),
                    class_weights_G=None if weights is None else weights.to(logits.device, non_blocking=True),
                    label_smoothing=self.config.label_smoothing,
                    ordinal=self.config.ordinal,
                )
                losses[head in SCHEMES].append(loss)
        means = [torch.stack(each).mean() for each in losses.values() if each]
        return {"classification": means[0] + self.config.other_heads * sum(means[1:])} if means else {}

    def _alignment(
        self,
        vectors: Mapping[Modality, Tensor],
        present_BM: Tensor | Mask,
        note_groups_B: Tensor,
        record_groups_B: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Contrastive losses; while several processes train, over the rows of all of them.

        Who has what and who is whose positive is worked out on the host, so that no step waits for its device.
        """
        parts: dict[str, Tensor] = {}
        order = list(Modality)
        together = self.training and processes() > 1
        has_BM = self._of_all(torch.as_tensor(present_BM)) if together else np.asarray(present_BM)
        notes_B = self._of_all(note_groups_B) if together else note_groups_B.numpy()
        records_B = None
        if record_groups_B is not None:
            records_B = self._of_all(record_groups_B) if together else record_groups_B.numpy()
        for name, (a, b) in PAIRS.items():
            if getattr(self.config, name) == 0 or not {a, b} <= set(self.modalities):
                continue
            # All processes gather or none does: one without a pair takes part with rows that are masked out.
            if not together and not {a, b} <= set(vectors):
                continue
            nothing = self.alpha.new_zeros((len(present_BM), EMBEDDING_DIM))
            a_BD, b_BD = (vectors.get(m, nothing).float() for m in (a, b))
            if together:
                a_BD, b_BD = gather_rows(a_BD), gather_rows(b_BD)
            has_a_B, has_b_B = has_BM[:, order.index(a)], has_BM[:, order.index(b)]
            both_B = has_a_B & has_b_B
            positive_BB = positives(self._groups({a, b}, notes_B, records_B)[both_B])
            if positive_BB.all():
                continue
            lone_a_KD = lone_b_KD = None
            if self.config.unpaired_are_negatives:
                # Not one whose note was taken away for this epoch alone: it may say the same as another's.
                had_one_B = (notes_B != NO_NOTE) & ~(has_a_B if a is Modality.TEXT else has_b_B)
                free_B = ~had_one_B if Modality.TEXT in (a, b) else np.ones_like(both_B)
                lone_a_KD = a_BD[index_of(has_a_B & ~has_b_B & free_B, a_BD.device)]
                lone_b_KD = b_BD[index_of(has_b_B & ~has_a_B & free_B, b_BD.device)]
            rows = index_of(both_B, a_BD.device)
            loss = alignment_loss(
                a_BD[rows],
                b_BD[rows],
                positive_BB,
                temperature=self.config.temperature,
                lone_a_KD=lone_a_KD,
                lone_b_KD=lone_b_KD,
            )
            parts[name] = times_processes(loss) if together else loss
        return parts

    def _of_all(self, rows_B: Tensor) -> npt.NDArray[Any]:
        """Rows of every process, on the host."""
        return gather_rows(rows_B.to(self.alpha.device)).cpu().numpy()

    def _groups(self, pair: set[Modality], notes_B: Groups, records_B: Groups | None) -> Groups:
        """Groups `[B, K]` of which one in common makes two studies positives of each other for a pair of modalities."""
        groups = [np.arange(len(notes_B))]
        if Modality.TEXT in pair and self.config.identical_notes_are_positives:
            groups.append(notes_B)
        if records_B is not None and Modality.STRUCTURED in pair and self.config.identical_records_are_positives:
            groups.append(records_B)
        return np.stack(groups, axis=1)

    def _reconstruction(self, vectors: Mapping[Modality, Tensor], inputs: ModelInputs) -> dict[str, Tensor]:
        """Each decoder gives back what its modality's CLS was made from, for the rows that have it."""
        parts: dict[str, Tensor] = {}
        order, known_BM = list(Modality), inputs.on_host()
        if self.image_decoder is not None and Modality.IMAGE in vectors and inputs.pixels_BCHW is not None:
            rows = index_of(known_BM[:, order.index(Modality.IMAGE)], inputs.pixels_BCHW.device)
            decoded = self.image_decoder(vectors[Modality.IMAGE][rows])
            parts["image_reconstruction"] = image_reconstruction_loss(decoded, inputs.pixels_BCHW[rows])
        if self.text_decoder is not None and Modality.TEXT in vectors and inputs.input_ids_BT is not None:
            assert inputs.attention_mask_BT is not None
            rows = index_of(known_BM[:, order.index(Modality.TEXT)], inputs.input_ids_BT.device)
            ids_BT, mask_BT = inputs.input_ids_BT[rows], inputs.attention_mask_BT[rows]
            loss = text_reconstruction_loss(self.text_decoder(vectors[Modality.TEXT][rows], ids_BT), ids_BT, mask_BT)
            if loss is not None:
                parts["text_reconstruction"] = loss
        return parts

    def _weigh(self, parts: dict[str, Tensor]) -> Losses:
        """Weigh the losses at hand.

        The softmax runs over those alone: a share for a loss that is left out would be a place where the weights can
        hide from the total, and they would move there.
        """
        if not parts:
            return Losses(total=self.alpha.sum() * 0, parts={}, weights={})
        places = [LOSSES.index(name) for name in parts]
        fixed = torch.stack([self.fixed[place] for place in places])
        alpha = torch.stack([self.alpha[place] for place in places])
        offset = self.alpha.new_zeros(())
        if self.config.weighting is Weighting.SOFTMAX:
            scale = alpha.softmax(0) * fixed
        elif self.config.weighting is Weighting.UNCERTAINTY:
            scale, offset = torch.exp(-alpha) * fixed, alpha.sum()
        else:
            scale = fixed
        total = (scale * torch.stack([part.float() for part in parts.values()])).sum() + offset
        return Losses(total=total, parts=parts, weights=dict(zip(parts, scale.detach().unbind(), strict=True)))


def _with(losses: Losses, parts: dict[str, Tensor], weights: Mapping[str, float]) -> Losses:
    """`losses` and others of fixed weights, added once the learnt weights are applied."""
    return Losses(
        total=losses.total + sum(weights[name] * part for name, part in parts.items()),
        parts={**losses.parts, **parts},
        weights={**losses.weights, **{name: losses.total.new_tensor(weights[name]) for name in parts}},
    )


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
