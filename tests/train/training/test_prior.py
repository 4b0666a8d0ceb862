"""Probabilities of the data's own prevalence, after a training that weighed rare grades."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from foveal_train.training.losses import class_weights
from foveal_train.training.prior import prior_shift


def _fit(x_ND: torch.Tensor, labels_N: torch.Tensor, weights_G: torch.Tensor | None) -> torch.nn.Linear:
    """Logistic regression."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(x_ND.shape[1], 5)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer(x_ND), labels_N, weight=weights_G)
        loss.backward()
        return loss

    optimiser.step(closure)
    return layer


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_a_corrected_head_answers_with_the_data_s_own_prevalence(exponent: float) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor([0.7, 0.15, 0.1, 0.04, 0.01]), 4000, replacement=True, generator=draw)
    x = labels[:, None] + 1.5 * torch.randn(4000, 1, generator=draw)
    counts = torch.bincount(labels, minlength=5)
    weighted = _fit(x, labels, class_weights(counts, exponent))
    with torch.no_grad():
        before = weighted(x).softmax(-1).mean(0)
        weighted.bias += prior_shift(counts, exponent)
        after = weighted(x).softmax(-1).mean(0)
    prevalence = counts / counts.sum()
    assert (before - prevalence).abs().max() > 0.1
    assert (after - prevalence).abs().max() < 0.02


def test_a_grade_that_never_occurred_is_not_made_likelier() -> None:
    shift = prior_shift(torch.tensor([100, 10, 0, 0, 0]), 1.0)
    assert shift[0] == 0
    assert shift[1] > shift[2] == shift[3]
    assert not prior_shift(torch.tensor([100, 10, 0, 0, 0]), 0.0).any()
