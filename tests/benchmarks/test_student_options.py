"""What an option adds to a student's figures, from answers that are known."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from foveal_train.evaluation.intervals import resample
from foveal_train.training.recipe_file import load_recipe


@pytest.fixture
def options(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("student_options")


def _answers(options: ModuleType, wrong: float, wrong_through_cameras: float) -> object:
    """Answers to the same labels, a share of them two grades off."""
    labels = np.arange(80) % 5

    def said(share: float) -> np.ndarray:
        lot = np.random.default_rng(3).random(len(labels))  # the same photographs are hard for everybody
        return 4.0 * np.eye(5)[np.where(lot < share, (labels + 2) % 5, labels)]

    names = tuple(map(str, range(80)))
    return options.Answers(ids=names, labels_N=labels, plain_NG=said(wrong), camera_NG=said(wrong_through_cameras))


def test_an_option_is_worth_its_difference_from_none_of_each_kind_of_photograph(options: ModuleType) -> None:
    none, lesions = _answers(options, 0.3, 0.4), _answers(options, 0.3, 0.1)
    found = options.worth(lesions, none, resample(list(map(str, range(80))), count=200, seed=0))
    same, better = found["plain"]["kappa"], found["camera"]["kappa"]
    assert (same["added"], same["interval"]) == (0.0, [0.0, 0.0])
    assert 0 < better["interval"][0] < better["added"] < better["interval"][1]
    assert better["none"] < same["none"]


def test_every_option_is_a_recipe_of_its_own(options: ModuleType) -> None:
    made = [load_recipe("edge", tuple(key.format(lesions="masks") for key in keys)) for keys in options.OPTIONS.values()]
    assert all(made.count(recipe) == 1 for recipe in made)
