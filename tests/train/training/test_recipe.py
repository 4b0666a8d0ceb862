"""Recipes resolve over profiles, and what is mistyped is named."""

from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import Modality
from foveal_train.training.objective import LOSSES
from foveal_train.training.recipe import Alignment, Keep, Weighting
from foveal_train.training.recipe_file import known_recipes, load_recipe


def test_every_shipped_recipe_loads() -> None:
    assert {"edge", "base", "tiny"} <= set(known_recipes())
    for name in known_recipes():
        load_recipe(name)


PAPER = tuple(name for name in known_recipes() if name.startswith("paper/"))


def test_the_papers_recipes_are_all_there() -> None:
    rows = "full image-text image-structured text-structured classification-only contrastive reconstruction vision-only"
    assert set(PAPER) == {f"paper/{name}" for name in (*rows.split(), "majority", "clip-zero-shot", "clip-fine-tuned")}


@pytest.mark.parametrize("name", PAPER)
def test_every_recipe_of_the_paper_shrinks_to_the_tiny_profile(name: str) -> None:
    recipe = load_recipe(name, ("profile=tiny", "optimiser.epochs=1"))
    assert recipe.model == load_recipe("tiny").model
    assert recipe.optimiser.epochs == 1


def test_the_papers_full_recipe_is_the_papers_protocol() -> None:
    full = load_recipe("paper/full")
    assert full.model.image_spec.mean == (0.485, 0.456, 0.406)
    assert full.model.image_spec.std == (0.229, 0.224, 0.225)
    assert load_recipe("base").model.image_spec.mean == (0.5, 0.5, 0.5)
    assert not full.model.record_spec.no_diabetes_is_zero
    assert load_recipe("base").model.record_spec.no_diabetes_is_zero
    assert not full.losses.identical_records_are_positives
    assert full.alignment is Alignment.JOINT
    assert full.keep_empty_notes
    assert full.modality_dropout == 0
    assert full.strip_dr_notes == 0
    assert full.losses.weighting is Weighting.SOFTMAX
    assert not full.losses.identical_notes_are_positives
    assert [getattr(full.losses, name) for name in LOSSES] == [1.0] * 6
    assert (full.model.image.frozen_blocks, full.model.text.frozen_layers) == (10, 10)


@pytest.mark.parametrize(
    ("name", "weighting", "left_out"),
    [
        ("classification-only", Weighting.FIXED, set(LOSSES[1:])),
        ("contrastive", Weighting.FIXED, {"image_reconstruction", "text_reconstruction"}),
        ("reconstruction", Weighting.FIXED, set()),
        ("full", Weighting.SOFTMAX, set()),
    ],
)
def test_table_four_adds_one_kind_of_loss_a_row(name: str, weighting: Weighting, left_out: set[str]) -> None:
    losses = load_recipe(f"paper/{name}").losses
    assert losses.weighting is weighting
    assert {loss for loss in LOSSES if getattr(losses, loss) == 0} == left_out


def test_table_three_leaves_out_one_modality_a_row() -> None:
    shown = {name: load_recipe(f"paper/{name}").modalities for name in ("image-text", "image-structured", "text-structured")}
    assert shown["image-text"] == (Modality.IMAGE, Modality.TEXT)
    assert shown["image-structured"] == (Modality.IMAGE, Modality.STRUCTURED)
    assert shown["text-structured"] == (Modality.TEXT, Modality.STRUCTURED)


def test_an_override_wins_over_the_recipe_and_the_recipe_over_the_profile() -> None:
    recipe = load_recipe("tiny", ("optimiser.epochs=7", "image.weights=weights/lite0.pth", "optimiser.keep=best"))
    assert recipe.optimiser.epochs == 7
    assert recipe.model.image.weights == "weights/lite0.pth"
    assert recipe.optimiser.keep is Keep.BEST
    assert recipe.model.image_spec.side_px == 64


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("egde", (), "choose one of"),
        ("tiny", ("optimiser.epoch=3",), "did you mean 'epochs'"),
        ("tiny", ("optimiser.epochs",), "not key=value"),
        ("tiny", ("optimiser.epochs=many",), "optimiser.epochs"),
        ("tiny", ("modality_dropout=1.5",), "modality_dropout"),
        ("tiny", ("strip_dr_notes=2",), "strip_dr_notes"),
        ("tiny", ("optimiser.balanced_sampling=2",), "balanced_sampling"),
        ("tiny", ("split.train=0.5",), "add up to 1"),
        ("tiny", ("image_spec.side_px=4",), "side"),
        ("tiny", ("profile=huge",), "there is no profile"),
    ],
)
def test_a_wrong_recipe_or_key_is_refused_with_its_mend(name: str, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_recipe(name, overrides)


def test_a_recipe_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("profile = [")
    with pytest.raises(ConfigError, match=r"no valid TOML"):
        load_recipe(str(path))
