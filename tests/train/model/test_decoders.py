"""Decoders: they learn to give back what they were shown, and exist only where a recipe asks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR, MISSING, SCHEMES, SDRG
from foveal_train.model.decoders import ImageDecoder, TextDecoder, text_reconstruction_loss
from foveal_train.model.model import ModelInputs
from foveal_train.model.profile import DecoderConfig
from foveal_train.model.weights import build_model
from foveal_train.pipeline import train
from foveal_train.runs.run import WEIGHTS_FILE
from foveal_train.training.objective import LOSSES, Batch, Losses, Objective
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe

SMALL = DecoderConfig(image_channels=16, text_layers=1, text_feedforward_dim=32, dropout=0.0)
BOTH = ("losses.image_reconstruction=1", "losses.text_reconstruction=1", "decoders.image_channels=16", "decoders.text_layers=1",
        "decoders.text_feedforward_dim=32")  # fmt: skip


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ("image_spec.side_px=32", *overrides))


def _objective(recipe: Recipe) -> Objective:
    return Objective(build_model(recipe.model, seed=0).model, recipe, (ICDR,), {})


def _batch(present: list[tuple[bool, bool, bool]]) -> Batch:
    rows, draw = len(present), torch.Generator().manual_seed(0)
    mask = torch.ones(rows, 6, dtype=torch.long)
    mask[0, 4:] = 0
    return Batch(
        inputs=ModelInputs(
            present_BM=torch.tensor(present),
            pixels_BCHW=torch.randn(rows, 3, 32, 32, generator=draw),
            input_ids_BT=torch.randint(1, 2000, (rows, 6), generator=draw) * mask,
            attention_mask_BT=mask,
            features_BF=torch.randn(rows, 6, generator=draw),
        ),
        labels={ICDR: torch.arange(rows) % 5, SDRG: torch.full((rows,), MISSING)},
        note_groups_B=torch.arange(rows),
    )


@pytest.mark.parametrize("side", [32, 64, 100, 224])
def test_the_image_decoder_gives_back_the_profiles_side(side: int) -> None:
    assert ImageDecoder(side, SMALL)(torch.randn(2, 256)).shape == (2, 3, side, side)


def test_the_text_decoder_never_sees_the_token_it_must_tell() -> None:
    decoder = TextDecoder(50, 8, SMALL).eval()
    cls = torch.randn(1, 256)
    ids = torch.tensor([[1, 5, 9, 13, 2]])
    changed = ids.clone()
    changed[0, 3] = 40
    before, after = decoder(cls, ids), decoder(cls, changed)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-3)


def test_the_text_decoder_reads_its_cls() -> None:
    torch.manual_seed(0)
    decoder = TextDecoder(12, 4, SMALL)
    cls = torch.nn.functional.normalize(torch.randn(2, 256), dim=-1)
    # Both notes begin alike: only the CLS can tell which word comes second.
    ids, mask = torch.tensor([[1, 5, 2], [1, 9, 2]]), torch.ones(2, 3, dtype=torch.long)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    for _ in range(60):
        loss = text_reconstruction_loss(decoder(cls, ids), ids, mask)
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert decoder(cls, ids).argmax(-1)[:, 0].tolist() == [5, 9]


def test_padding_does_not_change_the_loss_of_a_note() -> None:
    decoder = TextDecoder(50, 8, SMALL).eval()
    cls, ids = torch.randn(1, 256), torch.tensor([[1, 7, 3, 2]])
    padded, mask = torch.tensor([[1, 7, 3, 2, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    short = text_reconstruction_loss(decoder(cls, ids), ids, torch.ones_like(ids))
    long = text_reconstruction_loss(decoder(cls, padded), padded, mask)
    assert short is not None
    assert long is not None
    assert short.item() == pytest.approx(long.item(), rel=1e-5)


def test_a_note_of_one_token_has_nothing_to_tell() -> None:
    assert text_reconstruction_loss(torch.zeros(1, 1, 5), torch.ones(1, 1).long(), torch.ones(1, 1).long()) is None


def test_a_recipe_without_reconstruction_builds_no_decoder() -> None:
    assert load_recipe("edge").losses.image_reconstruction == 0
    objective = _objective(_recipe())
    assert objective.image_decoder is None
    assert objective.text_decoder is None
    only_image = _objective(_recipe(*BOTH, "losses.text_reconstruction=0"))
    assert only_image.image_decoder is not None
    assert only_image.text_decoder is None


@pytest.mark.parametrize("alignment", ["joint", "independent"])
def test_all_six_losses_reach_the_encoders(alignment: str) -> None:
    objective = _objective(_recipe(*BOTH, f"alignment={alignment}", "losses.weighting=softmax"))
    losses = objective(_batch([(True, True, True)] * 4))
    assert tuple(losses.parts) == LOSSES
    assert {name: float(weight) for name, weight in losses.weights.items()} == pytest.approx(dict.fromkeys(LOSSES, 1 / 6))
    losses.total.backward()
    assert objective.alpha.grad is not None
    assert bool((objective.alpha.grad != 0).any())
    for name in ("image_reconstruction", "text_reconstruction"):
        objective.zero_grad()
        parts = objective(_batch([(True, True, True)] * 4)).parts
        parts[name].backward()
        encoder = objective.model.image if name.startswith("image") else objective.model.text
        assert encoder.project.weight.grad is not None
        assert bool(encoder.project.weight.grad.any())


def _weighed(weighting: str, *overrides: str) -> tuple[Objective, Losses]:
    objective = _objective(_recipe(*BOTH, f"losses.weighting={weighting}", *overrides))
    with torch.no_grad():
        objective.alpha.copy_(torch.linspace(-1, 1, len(LOSSES)))
    parts = {name: torch.tensor(1.0 + i) for i, name in enumerate(LOSSES)}
    return objective, objective._weigh(parts)


def test_equation_one_weighs_six_losses() -> None:
    objective, losses = _weighed("softmax")
    alpha = objective.alpha.detach()
    expected = alpha.exp() / alpha.exp().sum()
    assert losses.total.item() == pytest.approx(float((expected * torch.arange(1.0, 7.0)).sum()), rel=1e-5)


def test_uncertainty_and_fixed_weigh_six_losses() -> None:
    objective, losses = _weighed("uncertainty")
    alpha = objective.alpha.detach()
    expected = (torch.exp(-alpha) * torch.arange(1.0, 7.0) + alpha).sum()
    assert losses.total.item() == pytest.approx(float(expected), rel=1e-5)
    assert _weighed("fixed", "losses.image_text=3")[1].total.item() == pytest.approx(21 + 2 * 2)


def test_weights_can_not_hide_in_a_loss_that_is_left_out() -> None:
    objective = _objective(_recipe("losses.weighting=softmax", "losses.image_structured=0", "losses.text_structured=0"))
    weights = objective(_batch([(True, True, True)] * 4)).weights
    assert weights == pytest.approx({"classification": 0.5, "image_text": 0.5})


def test_rows_without_the_modality_are_not_reconstructed() -> None:
    objective = _objective(_recipe(*BOTH)).eval()
    some = _batch([(True, True, True), (True, True, True), (False, False, True)])
    changed = _batch([(True, True, True), (True, True, True), (False, False, True)])
    assert changed.inputs.pixels_BCHW is not None
    changed.inputs.pixels_BCHW[2] = 99.0
    before, after = objective(some).parts, objective(changed).parts
    assert before["image_reconstruction"].item() == pytest.approx(after["image_reconstruction"].item())
    none = objective(_batch([(False, False, True)] * 3)).parts
    assert "image_reconstruction" not in none
    assert "text_reconstruction" not in none


def test_photographs_alone_are_reconstructed_too() -> None:
    parts = _objective(_recipe(*BOTH))(_batch([(True, False, False)] * 3)).parts
    assert set(parts) == {"classification", "image_reconstruction"}


def test_a_batch_that_teaches_nothing_is_still_a_step() -> None:
    objective = _objective(_recipe())
    batch = _batch([(True, False, False)] * 3)
    total = objective(replace(batch, labels={head: torch.full((3,), MISSING) for head in SCHEMES})).total
    total.backward()
    assert total.item() == 0


def test_decoder_channels_that_can_not_be_normalised_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"decoders\.image_channels is 20"):
        _recipe("decoders.image_channels=20")


@pytest.mark.usefixtures("undrawn")
def test_a_run_holds_no_decoder(tmp_path: Path, few_spec: str) -> None:
    recipe = _recipe(*BOTH, "optimiser.epochs=1", "losses.weighting=softmax")
    run = train(recipe, [few_spec], tmp_path / "run")
    assert not [name for name in load_file(run.path / WEIGHTS_FILE) if "decoder" in name]
    assert '"text_reconstruction"' in (run.path / "history.jsonl").read_text()
