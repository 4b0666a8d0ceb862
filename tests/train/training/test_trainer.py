"""The loop: exact resume, NaN stops by name, best and average weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foveal_runtime.errors import CheckFailed, DataError
from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.labels import ICDR, MISSING, SDRG
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.model.model import MultimodalModel
from foveal_train.model.weights import build_model
from foveal_train.training import checkpoint
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.cpu_speed import has_bf16
from foveal_train.training.objective import drop_modalities
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer, selected

COUNT = 24


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", ("optimiser.epochs=3", "optimiser.batch_size=8", "image_spec.side_px=32", *overrides))


def _arrays(recipe: Recipe) -> StudyArrays:
    rng = np.random.default_rng(0)
    side = recipe.model.image_spec.side_px
    return StudyArrays(
        ids=tuple(str(i) for i in range(COUNT)),
        squares_NSSC=rng.integers(0, 256, (COUNT, side, side, 3), dtype=np.uint8),
        notes=tuple(np.asarray([101, 2000 + i % 5, 102], np.int64) for i in range(COUNT)),
        features_NF=rng.normal(size=(COUNT, 6)).astype(np.float32),
        present_NM=np.ones((COUNT, len(Modality)), bool),
        labels={
            ICDR: rng.integers(0, 5, COUNT).astype(np.int64),
            SDRG: np.full(COUNT, MISSING, np.int64),
        },
        note_groups_N=np.arange(COUNT) % 5,
        image_spec=ImageSpec(side_px=side),
        samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(COUNT)),
    )


def _model(recipe: Recipe) -> MultimodalModel:
    return build_model(recipe.model, seed=recipe.seed).model


def _same(a: MultimodalModel, b: MultimodalModel) -> bool:
    other = b.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in a.state_dict().items())


class Killed(Exception):
    """Stands for the power cut in the middle of an epoch."""


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_run_that_was_cut_off_resumes_to_the_very_same_weights(tmp_path: Path, schedule: str) -> None:
    recipe = _recipe(f"optimiser.schedule={schedule}", "optimiser.ema=0.9", "optimiser.balanced_sampling=0.5")
    arrays = _arrays(recipe)
    whole = _model(recipe)
    Trainer(whole, recipe, Studies(train=arrays, validation=arrays), (ICDR,)).fit()

    def cut(epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        if (epoch, step) == (2, 2):
            raise Killed

    with pytest.raises(Killed):
        Trainer(_model(recipe), recipe, Studies(train=arrays, validation=arrays), (ICDR,), out=tmp_path).fit(report=cut)
    resumed = _model(recipe)
    fitted = Trainer(resumed, recipe, Studies(train=arrays, validation=arrays), (ICDR,), out=tmp_path).fit(resume=True)
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert _same(whole, resumed)


def test_a_loss_that_is_not_finite_stops_by_name_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    recipe = _recipe()
    arrays = _arrays(recipe)
    model = _model(recipe)

    def poison(epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        if (epoch, step) == (2, 1):
            with torch.no_grad():
                model.fusion.join.weight.fill_(float("nan"))

    with pytest.raises(CheckFailed, match=r"classification.* not finite in epoch 2, batch 2"):
        Trainer(model, recipe, Studies(train=arrays), (ICDR,), out=tmp_path).fit(report=poison)
    assert (tmp_path / checkpoint.FOLDER).is_dir()


def test_an_unwritable_checkpoint_is_a_clear_error_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    recipe = _recipe()
    (tmp_path / f"{checkpoint.FOLDER}.new").write_text("a file where the folder must go")
    with pytest.raises(DataError, match="checkpoint can't be written"):
        Trainer(_model(recipe), recipe, Studies(train=_arrays(recipe)), (ICDR,), out=tmp_path).fit()
    assert not (tmp_path / checkpoint.FOLDER).exists()


def test_the_best_epoch_is_kept_when_the_recipe_says_so() -> None:
    recipe = _recipe("optimiser.keep=best", "optimiser.learning_rate=0.5", "optimiser.epochs=2")
    arrays = _arrays(recipe)
    model = _model(recipe)
    fitted = Trainer(model, recipe, Studies(train=arrays, validation=arrays), (ICDR,)).fit()
    losses = [row["validation"]["classification"] for row in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmin(losses))


def test_the_best_epoch_is_the_one_that_grades_best_whatever_the_total_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # As equation (1) does it: grading loses its weight, gets worse, and the total falls.
    found = iter({"loss": loss, "classification": grading} for loss, grading in ((1.0, 0.6), (0.5, 0.9), (0.1, 1.2)))
    monkeypatch.setattr(Trainer, "validate", lambda self: next(found))
    recipe = _recipe("optimiser.keep=best", "optimiser.epochs=3", "optimiser.early_stop_patience=2", "losses.weighting=softmax")
    arrays = _arrays(recipe)
    fitted = Trainer(_model(recipe), recipe, Studies(train=arrays, validation=arrays), (ICDR,)).fit()
    assert fitted.best_epoch == 1
    assert fitted.epochs == 3
    assert selected({"loss": 0.4, "image_text": 0.4}) == 0.4  # nothing is graded


def test_training_lowers_the_loss() -> None:
    recipe = _recipe("optimiser.epochs=8", "modality_dropout=0.2")
    arrays = _arrays(recipe)
    fitted = Trainer(_model(recipe), recipe, Studies(train=arrays), (ICDR,)).fit()
    assert fitted.history[-1]["train"]["classification"] < fitted.history[0]["train"]["classification"]
    assert set(fitted.history[0]["train"]) == {"loss", "classification", "image_text", "image_structured", "text_structured"}


@pytest.mark.parametrize("weighting", ["softmax", "uncertainty"])
def test_learnt_weights_move_and_are_logged(weighting: str) -> None:
    recipe = _recipe(f"losses.weighting={weighting}")
    arrays = _arrays(recipe)
    fitted = Trainer(_model(recipe), recipe, Studies(train=arrays), (ICDR,)).fit()
    first, last = fitted.history[0]["weights"], fitted.history[-1]["weights"]
    assert set(first) == {"classification", "image_text", "image_structured", "text_structured"}
    assert first != last
    if weighting == "softmax":
        assert sum(last.values()) == pytest.approx(1.0)


def test_dropout_of_modalities_always_leaves_one_and_shows_every_proper_subset() -> None:
    torch.manual_seed(0)
    present = torch.ones(600, 3, dtype=torch.bool)
    present[300:, 1] = False
    shown = drop_modalities(present, 1.0)
    assert bool(shown.any(dim=1).all())
    assert not bool((shown & ~present).any())
    codes = {tuple(row) for row in shown[:300].tolist()}
    assert len(codes) == 6  # every proper subset of three
    assert {tuple(row) for row in shown[300:].tolist()} == {(True, False, False), (False, False, True)}


def test_accumulated_gradients_make_the_update_of_the_whole_batch() -> None:
    alone = ('modalities=["structured"]', "modality_dropout=0", "optimiser.schedule=plateau", "split.train=0.8")
    whole, parts = (
        _recipe(*alone, f"optimiser.batch_size={size}", f"optimiser.accumulate={count}") for size, count in ((8, 1), (4, 2))
    )
    arrays = _arrays(whole)
    arrays.present_NM[:, :2] = False
    first, second = _model(whole), _model(parts)
    Trainer(first, whole, Studies(train=arrays), (ICDR,)).fit()
    Trainer(second, parts, Studies(train=arrays), (ICDR,)).fit()
    before = _model(whole).fusion.head_icdr.weight
    assert not torch.allclose(first.fusion.head_icdr.weight, before, atol=1e-4)
    torch.testing.assert_close(second.fusion.head_icdr.weight, first.fusion.head_icdr.weight, atol=1e-5, rtol=0)


def test_bf16_computes_in_half_and_keeps_whole_weights() -> None:
    recipe = _recipe("optimiser.bf16=true", "optimiser.epochs=1")
    arrays, model = _arrays(recipe), _model(recipe)
    seen: set[torch.dtype] = set()
    model.fusion.join.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    fitted = Trainer(model, recipe, Studies(train=arrays), (ICDR,)).fit()
    assert seen == {torch.bfloat16 if has_bf16(torch.device("cpu")) else torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert np.isfinite(fitted.history[0]["train"]["loss"])


def test_a_validation_loss_that_is_not_finite_is_named_as_such() -> None:
    recipe = _recipe()
    arrays = _arrays(recipe)
    spoilt = replace(arrays, features_NF=np.full_like(arrays.features_NF, np.nan))
    with pytest.raises(CheckFailed, match=r"classification.* not finite in the validation after epoch 1"):
        Trainer(_model(recipe), recipe, Studies(train=arrays, validation=spoilt), (ICDR,)).fit()


def test_what_class_weights_add_to_rare_grades_is_taken_out_of_the_trained_head() -> None:
    recipe = _recipe("losses.class_balance=0.5", "optimiser.balanced_sampling=0.25", "optimiser.epochs=1")
    arrays, heads = _arrays(recipe), (ICDR,)
    biases = {}
    for corrected in (True, False):
        asked = replace(recipe, losses=replace(recipe.losses, prior_correction=corrected))
        model = _model(asked)
        Trainer(model, asked, Studies(train=arrays), heads).fit()
        biases[corrected] = model.fusion.head_icdr.bias.detach()
    shares = np.bincount(arrays.labels[ICDR], minlength=5)
    expected = 0.75 * np.log(shares / shares.max())
    assert (biases[True] - biases[False]).numpy() == pytest.approx(expected, abs=1e-5)
