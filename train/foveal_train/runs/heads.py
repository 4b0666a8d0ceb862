"""Classes of heads that a recipe names and nobody knows: what the labels of the data say. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import FINDING, Head, check_heads
from foveal_runtime.study.synonyms import fold
from foveal_train.data import Sample
from foveal_train.training.recipe import Recipe


def with_classes(recipe: Recipe, samples: Sequence[Sample]) -> Recipe:
    """The recipe, with classes of every head.

    Raises:
        DataError: no study has a label of a head without classes, or the labels are no classes.
    """
    heads = tuple(
        head if head.classes else replace(head, classes=classes_of(head.name, samples)) for head in recipe.model.heads
    )
    wrong = check_heads({head.name: head.classes for head in heads})
    if wrong:
        raise DataError(f"{wrong}; name the classes in the recipe, or leave the head out")
    return replace(recipe, model=replace(recipe.model, heads=heads))


def classes_of(head: Head, samples: Sequence[Sample]) -> tuple[str, ...]:
    """Classes by the labels: numbers are places, 0 and 1 a finding's; words are in the order of the alphabet.

    Raises:
        DataError: there are no labels, or words and numbers.
    """
    labels = [label for sample in samples if (label := sample.labels.of(head)) is not None]
    if not labels:
        known = sorted({name for sample in samples for name, _ in sample.labels.others})
        raise DataError(
            f"no study has a label of head {head!r}; besides icdr and sdrg the data has {', '.join(known) or 'none'}, and a "
            "folder's table has others in columns label_NAME"
        )
    numbers = [int(label) for label in labels if isinstance(label, int) or (label.isascii() and label.isdigit())]
    if len(numbers) == len(labels):
        return FINDING if max(numbers) <= 1 else tuple(str(place) for place in range(max(numbers) + 1))
    if numbers:
        raise DataError(f"labels of head {head} are words and numbers; write either, or name the classes in the recipe")
    words = {fold(str(label)): str(label).strip() for label in labels}
    return tuple(words[word] for word in sorted(words))
