"""Training under INT8's rounding: the last epochs, resumed exactly, and weights that lie on their steps in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from graded import noise_arrays
from torch import Tensor

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality
from foveal_train.model.model import MultimodalModel
from foveal_train.model.weights import build_model
from foveal_train.training.fakequant import FakeQuantised, _Rounded
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.student import QuantisationConfig
from foveal_train.training.trainer import Fitted, Studies, Trainer

COUNT = 16


def _recipe(*overrides: str) -> Recipe:
    small = ("optimiser.epochs=3", "optimiser.batch_size=8", "image_spec.side_px=32", "quantisation.epochs=2")
    return load_recipe("tiny", (*small, *overrides))


def _trainer(model: MultimodalModel, recipe: Recipe, out: Path | None = None) -> Trainer:
    arrays = noise_arrays(COUNT)
    return Trainer(model, recipe, Studies(train=arrays, validation=arrays), (ICDR,), out=out)


def _model(recipe: Recipe) -> MultimodalModel:
    return build_model(recipe.model, seed=recipe.seed).model


def _off_their_steps(weight: Tensor, limit: int) -> float:
    """How far the values of a weight are from whole steps, at most, in steps."""
    flat = weight.detach().flatten(1)
    steps = flat / (flat.abs().amax(1, keepdim=True) / limit)
    return float((steps - steps.round()).abs().max())


@pytest.mark.parametrize("overrides", [(), ("optimiser.ema=0.9",), ("optimiser.keep=best",)])
def test_a_training_leaves_its_weights_on_seven_bit_steps_but_for_the_leading_blocks(overrides: tuple[str, ...]) -> None:
    recipe = _recipe(*overrides)
    model = _model(recipe)
    fitted: Fitted = _trainer(model, recipe).fit()
    assert fitted.best_epoch >= 2 or not overrides  # the epoch without rounding is no candidate
    backbone = model.image.backbone
    for weight in (backbone.conv_head.weight, model.fusion.blocks[0].qkv.weight, model.text.project.weight):  # type: ignore
        assert _off_their_steps(weight, 63) < 1e-3  # type: ignore[arg-type]
    assert _off_their_steps(backbone.conv_stem.weight, 63) > 0.1  # type: ignore
    assert _off_their_steps(model.structured.mlp[0].weight, 63) > 0.1  # type: ignore[arg-type]


def test_batch_statistics_move_before_rounding_and_stay_under_it() -> None:
    recipe = _recipe()
    trainer = _trainer(_model(recipe), recipe)
    seen = [float(trainer.model.image.backbone.bn1.running_mean.sum())]  # type: ignore[union-attr]
    for _ in range(3):
        trainer.epoch()
        seen.append(float(trainer.model.image.backbone.bn1.running_mean.sum()))  # type: ignore[union-attr]
    assert seen[0] != seen[1] == seen[2] == seen[3]


class Killed(Exception):
    """Stands for the power cut."""


def test_a_training_that_was_cut_off_under_rounding_resumes_to_the_very_same_weights(tmp_path: Path) -> None:
    recipe = _recipe("optimiser.schedule=cosine")
    whole, resumed = _model(recipe), _model(recipe)
    _trainer(whole, recipe).fit()

    def cut(epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        if (epoch, step) == (3, 2):
            raise Killed

    with pytest.raises(Killed):
        _trainer(_model(recipe), recipe, tmp_path).fit(report=cut)
    _trainer(resumed, recipe, tmp_path).fit(resume=True)
    other = resumed.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in whole.state_dict().items())


def test_gradients_pass_and_ranges_are_of_training_alone() -> None:
    recipe = _recipe()
    model = _model(recipe)
    rounding = FakeQuantised(model, QuantisationConfig(epochs=1), [Modality.IMAGE], 32)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with rounding.learning(True):
        tokens = model.image(pixels)
    tokens.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.image.backbone.conv_head.parameters())  # type: ignore
    learnt = {name: tensor.clone() for name, tensor in rounding.state_dict().items()}
    assert int(learnt["seen"].max()) == 1
    with torch.inference_mode(), rounding.learning(False):
        model.image(10 * pixels)
    assert all(torch.equal(tensor, learnt[name]) for name, tensor in rounding.state_dict().items())
    with rounding.learning(True):
        model.image(10 * pixels)
    assert not torch.equal(rounding.state_dict()["ranges"], learnt["ranges"])


def test_rounding_is_that_of_pytorchs_fake_quantisation() -> None:
    draw = torch.Generator().manual_seed(0)
    ours = torch.randn(4, 8, 5, 5, generator=draw, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    scale, zero = 0.017, 120
    weights = torch.randn(4, 8, 5, 5, generator=draw)
    got = _Rounded.apply(ours, scale, zero)
    expected = torch.fake_quantize_per_tensor_affine(theirs, scale, zero, 0, 255)
    torch.testing.assert_close(got, expected)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert bool((ours.grad == 0).any())


def test_a_study_without_company_is_rounded_as_in_company_by_the_notes_encoder() -> None:
    recipe = _recipe()
    model = _model(recipe).eval()
    rounding = FakeQuantised(model, QuantisationConfig(epochs=1), [Modality.TEXT], 32)
    ids = torch.tensor([[101, 2003, 102], [101, 2900, 102]])
    with torch.inference_mode(), rounding.learning(False):
        both, alone = model.text(ids, torch.ones_like(ids)), model.text(ids[:1], torch.ones_like(ids[:1]))
    plain = model.text(ids[:1], torch.ones_like(ids[:1]))
    torch.testing.assert_close(both[:1], alone)
    assert not torch.allclose(plain, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quantisation.epochs=4", "more than the 3 of optimiser.epochs"),
        ("optimiser.early_stop_patience=2", "a last epoch that is known"),
        ("optimiser.compile=true", "leave optimiser.compile"),
        ("quantisation.weight_bits=4", "must be 7 or 8"),
    ],
)
def test_what_can_not_be_rounded_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _recipe(override)
