"""Recipes resolve over profiles, and what is mistyped is named."""

from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError
from foveal_train.recipe import Keep, known_recipes, load_recipe


def test_every_shipped_recipe_loads() -> None:
    assert {"edge", "base", "tiny"} <= set(known_recipes())
    for name in known_recipes():
        load_recipe(name)


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
