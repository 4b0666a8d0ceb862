"""Soft targets: what teachers say of the training studies, and how far a student is from it. Asks no teacher (`runs.answers`).

A study is shown in up to seven ways, and a teacher answers each of them: a student that sees the photograph alone learns what
its teachers say of the photograph alone. A way is a code, a bit a modality in the order of `Modality`.
Shapes: N studies, B rows of a batch, W = 8 ways (0 shows nothing), M = 3 modalities, G grades, D = 256.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality
from foveal_train.model.fusion import Fused
from foveal_train.training.student import DistillationConfig

WAYS = 2 ** len(Modality)
GRADES_LOSS, VECTORS_LOSS = "distilled_grades", "distilled_vectors"
_LEAST = 1e-6
"""Probability that a grade has at least, so that its logarithm is finite."""

Rows = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def way_codes(shown_NM: Mask) -> Rows:
    """Code of what is shown of each study."""
    return np.asarray(shown_NM.astype(np.int64) @ (1 << np.arange(shown_NM.shape[1])), np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTargets:
    """Teachers' answers on N studies; a way that no teacher was trained on, or that a study does not have, is not known."""

    probabilities: dict[Head, Float32]
    """Mean calibrated probabilities `[N, W, G]`, by head."""
    graded: dict[Head, Mask]
    """Which of them are known, `[N, W]`."""
    vectors_NWD: npt.NDArray[np.float16]
    """Joint vectors on the unit sphere, all in one space."""
    known_NW: Mask
    """Which vectors are known."""

    def batch(self, rows: Rows, shown_BM: Mask) -> BatchTargets:
        """The targets of some rows.

        Args:
            rows: which studies.
            shown_BM: what the joint pass shows of each.
        """
        return BatchTargets(
            codes_B=way_codes(shown_BM),
            probabilities={head: every[rows] for head, every in self.probabilities.items()},
            graded={head: every[rows] for head, every in self.graded.items()},
            vectors_BWD=self.vectors_NWD[rows],
            known_BW=self.known_NW[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchTargets:
    """`SoftTargets` of a batch, on the host; `codes_B` is the way in which the joint pass shows each row."""

    codes_B: Rows
    probabilities: dict[Head, Float32]
    graded: dict[Head, Mask]
    vectors_BWD: npt.NDArray[np.float16]
    known_BW: Mask


class Pass(NamedTuple):
    """A fusion pass over some rows of a batch."""

    fused: Fused
    rows: Rows
    """Which rows of the batch it is of."""
    codes: Rows
    """The way in which it shows each."""


def softened(probabilities_BG: Tensor, temperature: float) -> Tensor:
    """Probabilities as a softmax at `temperature` would have them."""
    return torch.as_tensor((probabilities_BG.clamp(min=_LEAST).log() / temperature).softmax(-1))


def soft_grading_loss(logits_BG: Tensor, probabilities_BG: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from teacher to student, both softened, times the temperature's square (Hinton et al. 2015).

    Args:
        logits_BG: of the student.
        probabilities_BG: of the teachers.
        temperature: 1 compares the probabilities as they are; more looks at what teachers say of unlikely grades.
    """
    student = F.log_softmax(logits_BG.float() / temperature, dim=-1)
    teacher = softened(probabilities_BG.float(), temperature)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature**2


def distillation_losses(
    passes: Sequence[Pass], targets: BatchTargets, config: DistillationConfig, prior: Mapping[Head, Tensor]
) -> dict[str, Tensor]:
    """How far the student is from its teachers in every pass that was made: mean over passes, and over heads.

    Args:
        passes: of the student.
        targets: of the batch.
        config: temperature; a loss of weight 0 is left out.
        prior: what will be added to each trained head's logits after training. Targets are probabilities of the data's own
            prevalence, so they are compared with logits that have it as well.

    Returns:
        `distilled_grades` and `distilled_vectors`; one that no row gives is missing.
    """
    grades: list[Tensor] = []
    vectors: list[Tensor] = []
    for fused, rows, codes in passes:
        device = fused.joint_BD.device
        for head, shift_G in prior.items():
            if not config.grades or head not in targets.graded:
                continue
            here = np.flatnonzero(targets.graded[head][rows, codes])
            if here.size:
                logits_BG = fused.logits[head][torch.from_numpy(here).to(device)]
                taught = torch.from_numpy(targets.probabilities[head][rows[here], codes[here]]).to(device)
                grades.append(soft_grading_loss(logits_BG + shift_G.to(device), taught, config.temperature))
        here = np.flatnonzero(targets.known_BW[rows, codes]) if config.vectors else np.zeros(0, np.int64)
        if here.size:
            taught = torch.from_numpy(targets.vectors_BWD[rows[here], codes[here]]).to(device).float()
            own_BD = fused.joint_BD[torch.from_numpy(here).to(device)].float()
            vectors.append((1 - (own_BD * taught).sum(-1)).mean())
    found = {GRADES_LOSS: grades, VECTORS_LOSS: vectors}
    return {name: torch.stack(each).mean() for name, each in found.items() if each}
