"""A disk that takes no more: a clear error, nothing half-written, and the last good checkpoint goes on."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from limits import files_of_at_most

from foveal_runtime.errors import DataError
from foveal_train.pipeline import train
from foveal_train.runs.reporter import Silent
from foveal_train.runs.run import RUN_FILE, WEIGHTS_FILE
from foveal_train.training.checkpoint import FOLDER
from foveal_train.training.recipe_file import load_recipe

PLAIN = ("optimiser.epochs=2", "optimiser.batch_size=8", "image_spec.side_px=32")


def test_no_room_for_decoded_photographs_is_said_before_any_is_decoded(tmp_path: Path, few_spec: str) -> None:
    decoded: list[int] = []

    class Watch(Silent):
        def progress(self, done: int, total: int) -> None:
            decoded.append(done)

    with files_of_at_most(20_000), pytest.raises(DataError, match=r"no room for train\.npy.*free space"):
        train(load_recipe("tiny", PLAIN), [few_spec], tmp_path / "run", reporter=Watch())
    assert decoded == []
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_that_does_not_fit_keeps_the_last_one_whole_and_the_run_goes_on(tmp_path: Path, few_spec: str) -> None:
    out, recipe = tmp_path / "run", load_recipe("tiny", PLAIN)

    class FillUp(Silent):
        """The disk is full from the second epoch on."""

        def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
            if epoch == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with files_of_at_most(resource.RLIM_INFINITY), pytest.raises(DataError, match=r"checkpoint can't be written.*--resume"):
        train(recipe, [few_spec], out, reporter=FillUp())
    assert (out / FOLDER / "loop.json").is_file()
    assert not (out / f"{FOLDER}.new").exists()
    assert train(recipe, [few_spec], out, resume=True).info.epochs == 2


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_does_not_fit_is_no_run_and_goes_on_when_there_is_room(tmp_path: Path, few_spec: str) -> None:
    out, recipe = tmp_path / "run", load_recipe("tiny", PLAIN)

    class FillUp(Silent):
        """The disk is full when the weights are to be written."""

        def stage(self, name: str) -> None:
            if name.startswith("calibrating"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with files_of_at_most(resource.RLIM_INFINITY), pytest.raises(DataError, match=r"can't be written.*--resume"):
        train(recipe, [few_spec], out, reporter=FillUp())
    assert not (out / RUN_FILE).exists()
    assert not list(out.rglob(f"{WEIGHTS_FILE}*.part"))
    assert train(recipe, [few_spec], out, resume=True).info.epochs == 2
