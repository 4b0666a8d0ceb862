"""The pictures that the gradability check is fitted on: repeatable, labelled, and judged right where they are new to it."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from bundles import photograph
from PIL import Image

from foveal_runtime.photo import imaging
from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.photo.quality import Quality, assess


@pytest.fixture
def made(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("quality_samples")


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(made: ModuleType) -> None:
    one, again, other = (
        [s.jpeg for s in made.samples([], drawn=1, recast=2, spoilt=2, others=0, seed=seed)] for seed in (5, 5, 6)
    )
    assert one == again
    assert not set(one) & set(other)


def test_every_kind_makes_a_picture_of_any_photograph(made: ModuleType) -> None:
    photo = Image.open(io.BytesIO(photograph(1, width=400, height=300))).convert("RGB")
    for kind in (*(k for _, k in made.RECAST.values()), *(k for _, k in made.SPOILT.values())):
        assert kind(photo, np.random.default_rng(0)).mode == "RGB"


@pytest.mark.parametrize("seeds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_drawings_that_the_fit_has_not_seen_are_no_fundus(made: ModuleType, seeds: int) -> None:
    passed = []
    for name, draw in made.NOT_FUNDUS.items():
        for seed in range(seeds):
            data = made.jpeg_of(draw(np.random.default_rng([77, seed])), np.random.default_rng(seed))
            if assess(imaging.photograph(data, ImageSpec())) is Quality.GRADABLE:
                passed.append(name)
    assert len(passed) <= 0.02 * seeds * len(made.NOT_FUNDUS), passed
