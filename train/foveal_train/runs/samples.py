"""The samples of a run: read from its data sets and split as its recipe says. Decodes no photograph."""

from __future__ import annotations

from collections.abc import Sequence

from foveal_runtime.errors import ConfigError
from foveal_train.data import Sample, Split, load, split_patients
from foveal_train.training.arrays import Skipped
from foveal_train.training.recipe import Recipe


def load_samples(specs: Sequence[str], *, skip_bad: bool = False, skipped: Skipped | None = None) -> list[Sample]:
    """Samples of several data sets, in order.

    Args:
        specs: `kind:path` each.
        skip_bad: leave unusable rows out instead of refusing the data set.
        skipped: told of each row that is left out.

    Raises:
        DataError: see `foveal_train.data.load`.
    """
    if not specs:
        raise ConfigError("no data given; name at least one --data SPEC, for example --data brset:PATH")
    samples: list[Sample] = []
    for spec in specs:
        dataset = load(spec, skip_bad=skip_bad)
        samples += dataset.samples
        if skipped is not None:
            for problem in dataset.problems:
                skipped(problem)
    return samples


def split_samples(samples: Sequence[Sample], recipe: Recipe) -> Split:
    """The split a recipe asks for."""
    shares = recipe.split
    seed = recipe.seed if shares.seed is None else shares.seed
    return split_patients(samples, fractions=(shares.train, shares.validation, shares.test), seed=seed)
