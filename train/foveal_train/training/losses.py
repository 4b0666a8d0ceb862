"""Losses as pure functions of logits, vectors and labels. Missing labels and absent modalities are skipped, never guessed.

Shapes: B studies, G grades, D = 256.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from foveal_runtime.study.labels import MISSING


def squared_emd(logits_BG: Tensor, labels_B: Tensor) -> Tensor:
    """Squared earth mover's distance between predicted and true grade (Hou, Yu, Samaras 2016), mean over studies."""
    probabilities = logits_BG.softmax(-1).cumsum(-1)
    truth = F.one_hot(labels_B, logits_BG.shape[-1]).to(probabilities.dtype).cumsum(-1)
    return (probabilities - truth).square().sum(-1).mean()


def grading_loss(
    logits_BG: Tensor, labels_B: Tensor, *, class_weights_G: Tensor | None, label_smoothing: float, ordinal: float
) -> Tensor | None:
    """Cross-entropy plus `ordinal` times the squared EMD over the labelled studies.

    Args:
        logits_BG: any float dtype; computed in float32.
        labels_B: grades, `MISSING` where unknown.
        class_weights_G: weight of each grade in the cross-entropy.
        label_smoothing: mass spread over all grades.
        ordinal: weight of the EMD term; 0 leaves it out.

    Returns:
        None when no study of the batch has a label.
    """
    known = labels_B != MISSING
    if not bool(known.any()):
        return None
    return known_grading_loss(
        logits_BG[known], labels_B[known], class_weights_G=class_weights_G, label_smoothing=label_smoothing, ordinal=ordinal
    )


def known_grading_loss(
    logits_BG: Tensor, labels_B: Tensor, *, class_weights_G: Tensor | None, label_smoothing: float, ordinal: float
) -> Tensor:
    """`grading_loss` of studies that all have a label: nothing is asked of the device."""
    logits, labels = logits_BG.float(), labels_B
    loss = F.cross_entropy(logits, labels, weight=class_weights_G, label_smoothing=label_smoothing)
    return loss + ordinal * squared_emd(logits, labels) if ordinal else loss


def contrastive_loss(
    a_BD: Tensor,
    b_BD: Tensor,
    groups_B: Tensor,
    *,
    temperature: float,
    lone_a_KD: Tensor | None = None,
    lone_b_KD: Tensor | None = None,
) -> Tensor | None:
    """Symmetric InfoNCE between two sets of unit vectors, with several positives a row; in float32 in any autocast.

    Rows that share a group (identical notes, identical records) are positives of each other: the target is uniform over them
    (supervised contrastive, Khosla et al. 2020). With one row a group it is CLIP's loss.

    Args:
        a_BD: unit vectors of one side.
        b_BD: unit vectors of the other side, row i belonging to row i of `a_BD`.
        groups_B: integer group of each row; or `groups_BK`, of which one that is the same in two rows makes them positives.
        temperature: divides the cosine similarities.
        lone_a_KD: unit vectors of the first side that have no partner: negatives of every row of `b_BD`, nothing else.
        lone_b_KD: the same of the second side.

    Returns:
        None when all rows are positives of each other: there is no negative to learn from.
    """
    if groups_B.numel() == 0:
        return None
    groups_BK = groups_B.reshape(groups_B.shape[0], -1).cpu().numpy()
    positive_BB = positives(groups_BK)
    if positive_BB.all():
        return None
    return alignment_loss(a_BD, b_BD, positive_BB, temperature=temperature, lone_a_KD=lone_a_KD, lone_b_KD=lone_b_KD)


def positives(groups_BK: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows share a group, `[B, B]`."""
    return np.asarray((groups_BK[:, None] == groups_BK[None, :]).any(-1))


def alignment_loss(
    a_BD: Tensor,
    b_BD: Tensor,
    positive_BB: npt.NDArray[np.bool_],
    *,
    temperature: float,
    lone_a_KD: Tensor | None = None,
    lone_b_KD: Tensor | None = None,
) -> Tensor:
    """`contrastive_loss` with the positives of each row as the host knows them: nothing is asked of the device."""
    positive = torch.from_numpy(positive_BB).to(a_BD.device, non_blocking=True).float()
    with torch.autocast(a_BD.device.type, enabled=False):  # which would multiply in bfloat16: cosines to two digits
        return _symmetric(a_BD.float(), b_BD.float(), positive, temperature, lone_a_KD, lone_b_KD)


def _symmetric(
    a_BD: Tensor,
    b_BD: Tensor,
    positive_BB: Tensor,
    temperature: float,
    lone_a_KD: Tensor | None,
    lone_b_KD: Tensor | None,
) -> Tensor:
    similarity_BB = a_BD @ b_BD.T / temperature
    target_BB = positive_BB / positive_BB.sum(1, keepdim=True)
    forward = _towards(target_BB, similarity_BB, a_BD, lone_b_KD, temperature)
    backward = _towards(target_BB, similarity_BB.T, b_BD, lone_a_KD, temperature)
    return (forward + backward) / 2


def _towards(target_BB: Tensor, similarity_BB: Tensor, query_BD: Tensor, lone_KD: Tensor | None, temperature: float) -> Tensor:
    """Cross-entropy of one direction; vectors without a partner only add to what a query must keep away from."""
    if lone_KD is not None and lone_KD.shape[0]:
        similarity_BB = torch.cat([similarity_BB, query_BD @ lone_KD.float().T / temperature], dim=1)
    log_share_BB = F.log_softmax(similarity_BB, dim=1)[:, : target_BB.shape[1]]
    return torch.sum(-target_BB * log_share_BB, dim=1).mean()


def class_weights(counts_G: Tensor, exponent: float) -> Tensor | None:
    """Weights proportional to (1 / frequency) ** exponent over the grades that occur, mean 1 over studies; None for 0."""
    if exponent == 0:
        return None
    counts = counts_G.float()
    weights = torch.where(counts > 0, (counts.sum() / counts.clamp(min=1)) ** exponent, torch.zeros_like(counts))
    return weights * counts.sum() / (weights * counts).sum()
