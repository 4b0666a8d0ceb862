"""Heads are data: their names in a recipe, their classes from the recipe, from what is known or from the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.study.labels import CLASSES, EDEMA, FINDING, ICDR
from foveal_train.data import Sample
from foveal_train.data.sample import Labels
from foveal_train.runs.heads import classes_of, with_classes
from foveal_train.training.recipe_file import load_recipe


def samples(*labels: int | str | None, head: str = "haze") -> list[Sample]:
    made = [() if label is None else ((head, label),) for label in labels]
    return [Sample(id=str(i), patient_id=f"p:{i}", image_path=None, labels=Labels(others=each)) for i, each in enumerate(made)]


def test_a_recipe_without_heads_has_the_two_grading_schemes_and_known_ones_have_their_classes() -> None:
    assert load_recipe("tiny").model.head_classes == {head: CLASSES[head] for head in ("icdr", "sdrg")}
    chosen = load_recipe("tiny", ("heads=icdr, edema,haze",)).model.head_classes
    assert chosen == {ICDR: CLASSES[ICDR], EDEMA: FINDING, "haze": ()}


def test_a_recipe_file_names_heads_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('profile = "tiny"\nheads = ["icdr", {name = "haze", classes = ["clear", "hazy", "opaque"]}]\n')
    assert load_recipe(str(path)).model.head_classes["haze"] == ("clear", "hazy", "opaque")


@pytest.mark.parametrize(
    ("heads", "says"),
    [
        ("icdr,icdr", "twice"),
        ("Icdr", "no usable name"),
        ("joint", "no usable name"),
        ("[]", "no list"),
        ("3", "no list"),
        ('[{name = "icdr", classes = ["a", "b"]}]', "other classes than its scheme"),
        ('[{name = "haze", classes = ["a", "a"]}]', "names differ"),
    ],
)
def test_heads_that_are_none_are_refused_by_name(heads: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_recipe("tiny", (f"heads={heads}",))


def test_classes_come_from_the_labels_where_nobody_names_them() -> None:
    assert classes_of("haze", samples(0, None, 1)) == FINDING
    assert classes_of("haze", samples("2", "0")) == ("0", "1", "2")
    assert classes_of("haze", samples("opaque", "Clear ", "clear", "hazy")) == ("clear", "hazy", "opaque")
    recipe = load_recipe("tiny", ("heads=icdr,haze",))
    found = with_classes(recipe, samples("clear", "hazy"))
    assert found.model.head_classes["haze"] == ("clear", "hazy")
    assert with_classes(found, samples("clear", "hazy")) == found


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(DataError, match="besides icdr and sdrg the data has fog"):
        classes_of("haze", samples(1, head="fog"))
    with pytest.raises(DataError, match="words and numbers"):
        classes_of("haze", samples("clear", "1"))
    recipe = load_recipe("tiny", ("heads=icdr,haze",))
    with pytest.raises(DataError, match="has not 2 to"):
        with_classes(recipe, samples("clear", "clear"))


def test_a_label_is_a_class_by_place_or_by_word_and_nothing_else() -> None:
    label = Labels(others=(("haze", "Hazy"), ("count", "2"), ("flag", 1)))
    assert label.place("haze", ("clear", "hazy")) == 1
    assert label.place("count", ("none", "few", "many")) == 2
    assert label.place("flag", FINDING) == 1
    assert label.place("other", FINDING) is None
    with pytest.raises(DataError, match="none of its classes"):
        label.place("haze", ("clear", "opaque"))
    with pytest.raises(DataError, match="none of its classes"):
        replace(label, others=(("flag", 2),)).place("flag", FINDING)
