"""Losses against hand-computed values, and what they must skip."""

import math

import pytest
import torch
import torch.nn.functional as F

from foveal_runtime.study.labels import MISSING
from foveal_train.training.losses import class_weights, contrastive_loss, grading_loss, squared_emd


def _unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_squared_emd_of_a_certain_prediction_counts_the_grades_between() -> None:
    certain = torch.full((1, 5), -1e4)
    certain[0, 4] = 0.0
    assert squared_emd(certain, torch.tensor([4])).item() == pytest.approx(0.0)
    assert squared_emd(certain, torch.tensor([1])).item() == pytest.approx(3.0)


def test_studies_without_a_label_do_not_change_the_grading_loss() -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, MISSING, 3, MISSING])
    full = grading_loss(logits, labels, class_weights_G=None, label_smoothing=0.1, ordinal=1.0)
    alone = grading_loss(logits[[0, 2]], labels[[0, 2]], class_weights_G=None, label_smoothing=0.1, ordinal=1.0)
    assert full is not None
    assert alone is not None
    assert torch.equal(full, alone)


def test_a_batch_without_labels_has_no_grading_loss() -> None:
    assert (
        grading_loss(torch.zeros(2, 5), torch.tensor([MISSING] * 2), class_weights_G=None, label_smoothing=0, ordinal=0) is None
    )


def test_contrastive_loss_with_distinct_rows_is_clips_loss() -> None:
    a, b = _unit(6, 8), _unit(6, 8, seed=1)
    logits = a @ b.T / 0.07
    rows = torch.arange(6)
    expected = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    loss = contrastive_loss(a, b, rows, temperature=0.07)
    assert loss is not None
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_identical_notes_are_positives_not_negatives() -> None:
    # Two photographs share one note: pulling each to "its own" copy must not push it from the other.
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    b = a.clone()
    grouped = contrastive_loss(a, b, torch.tensor([0, 0, 1]), temperature=0.07)
    apart = contrastive_loss(a, b, torch.arange(3), temperature=0.07)
    assert grouped is not None
    assert apart is not None
    # The best reachable value is the entropy of the target itself: log 2 for two of three rows.
    assert grouped.item() == pytest.approx(2 / 3 * math.log(2), abs=1e-4)
    alone = contrastive_loss(a[[0, 2]], b[[0, 2]], torch.tensor([0, 1]), temperature=0.07)
    assert alone is not None
    assert alone.item() < 1e-5


def test_vectors_without_a_partner_are_negatives_of_the_other_side_alone() -> None:
    a, b, lone = _unit(5, 8), _unit(5, 8, seed=1), _unit(3, 8, seed=2)
    rows = torch.arange(5)
    forward = F.cross_entropy(a @ b.T / 0.1, rows)
    backward = F.cross_entropy(b @ torch.cat([a, lone]).T / 0.1, rows)
    loss = contrastive_loss(a, b, rows, temperature=0.1, lone_a_KD=lone)
    assert loss is not None
    assert loss.item() == pytest.approx((forward + backward).item() / 2, rel=1e-5)
    none = contrastive_loss(a, b, rows, temperature=0.1, lone_a_KD=lone[:0])
    assert none == contrastive_loss(a, b, rows, temperature=0.1)


def test_one_group_alone_has_no_contrastive_loss() -> None:
    assert contrastive_loss(_unit(3, 4), _unit(3, 4), torch.zeros(3), temperature=0.07) is None


def test_class_weights_favour_rare_grades_and_keep_the_mean_at_one() -> None:
    counts = torch.tensor([90, 10, 0, 0, 0])
    assert class_weights(counts, 0.0) is None
    weights = class_weights(counts, 1.0)
    assert weights is not None
    assert (weights[1] / weights[0]).item() == pytest.approx(9.0)
    assert weights[2].item() == 0.0
    assert ((weights * counts).sum() / counts.sum()).item() == pytest.approx(1.0)


def test_rows_that_share_one_of_several_groups_are_positives() -> None:
    a, b = _unit(3, 4), _unit(3, 4, seed=1)
    notes, records = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    both = contrastive_loss(a, b, torch.stack([notes, records], 1), temperature=0.1)
    similarity = a @ b.T / 0.1
    target = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1.0]])
    target = target / target.sum(1, keepdim=True)
    expected = (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
    assert both is not None
    assert both.item() == pytest.approx(expected.item(), rel=1e-5)
