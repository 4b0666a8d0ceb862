"""From data to a run: what it says of itself is true, and what can't work is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.study.labels import ICDR, SDRG
from foveal_runtime.study.study import ALL_SUBSETS, subset_name
from foveal_train.pipeline import starved, train
from foveal_train.runs.reporter import Silent
from foveal_train.runs.run import METRICS_FILE, WEIGHTS_FILE, Run, newest_run, space_id, write_run
from foveal_train.training.recipe_file import load_recipe


def test_a_run_says_what_was_trained_and_opens_again(tiny_run: Path) -> None:
    run = Run.open(tiny_run)
    assert run.info.trained_heads == (ICDR, SDRG)
    assert set(run.info.trained_subsets) == {subset_name(subset) for subset in ALL_SUBSETS}
    assert run.info.space_id == space_id(run.model, run.info.model, run.info.features, run.tokenizer_json)
    assert not set(run.split["train"]) & set(run.split["test"])
    metrics = json.loads((tiny_run / METRICS_FILE).read_text())
    assert metrics["split"] == "test"
    assert not (tiny_run / "checkpoint").exists()
    assert not (tiny_run / "cache").exists()


def test_the_space_does_not_change_with_the_heads_but_with_the_encoders(tiny_run: Path) -> None:
    run = Run.open(tiny_run)

    def current() -> str:
        return space_id(run.model, run.info.model, run.info.features, run.tokenizer_json)

    before = current()
    run.model.fusion.head_icdr.weight.data.add_(1)
    assert current() == before
    run.model.image.project.weight.data[0, 0] += 1e-3
    assert current() != before


@pytest.mark.usefixtures("undrawn")
def test_photographs_alone_train_one_subset_and_one_head(tmp_path: Path, idrid: Path) -> None:
    overrides = ("optimiser.epochs=1", "image_spec.side_px=32", "split.train=0.2", "split.validation=0.2", "split.test=0.6")
    run = train(load_recipe("tiny", overrides), [f"idrid:{idrid}"], tmp_path / "run")
    assert run.info.trained_heads == (ICDR,)
    assert run.info.trained_subsets == ("image",)
    assert run.info.aligned == ()


def test_a_finished_run_is_never_written_over(tiny_run: Path, synth_spec: str) -> None:
    with pytest.raises(DataError, match="already holds a finished run"):
        train(load_recipe("tiny"), [synth_spec], tiny_run)


class PowerCut(Exception):
    """Ends a training in its first step."""


class CutOff(Silent):
    """Stands for the power cut."""

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        raise PowerCut


def test_a_resume_must_ask_for_the_same_run(tmp_path: Path, few_spec: str) -> None:
    with pytest.raises(DataError, match="no unfinished run"):
        train(load_recipe("tiny"), [few_spec], tmp_path / "new", resume=True)
    started = tmp_path / "started"
    with pytest.raises(PowerCut):
        train(load_recipe("tiny", ("optimiser.epochs=1",)), [few_spec], started, reporter=CutOff())
    with pytest.raises(DataError, match="--resume"):
        train(load_recipe("tiny"), [few_spec], started)
    with pytest.raises(ConfigError, match="another recipe or data"):
        train(load_recipe("tiny"), [few_spec], started, resume=True)


def test_data_that_can_not_be_read_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        train(load_recipe("tiny"), ["brset:/no/such/folder"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_broken_photograph_is_refused_by_row_or_skipped_by_flag(tmp_path: Path, few_spec: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_spec.partition(":")[2], data)
    spoilt = sorted((data / "fundus_photos").iterdir())[3]
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    recipe = load_recipe("tiny", ("optimiser.epochs=1", "image_spec.side_px=32"))
    with pytest.raises(DataError, match=rf"1 of \d+ photographs can't be used: row 5 \({spoilt.stem}\).*--skip-bad"):
        train(recipe, [f"brset:{data}"], tmp_path / "run")
    run = train(recipe, [f"brset:{data}"], tmp_path / "run", skip_bad=True)
    assert spoilt.stem not in {one for part in run.split.values() for one in part}
    assert sum(len(part) for part in run.split.values()) == len(list((data / "fundus_photos").iterdir())) - 1
    metrics = json.loads((run.path / METRICS_FILE).read_text())
    assert "1 row or photograph was skipped: row 5" in metrics["warnings"][0]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, synth_spec: str) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        train(load_recipe("tiny"), [synth_spec], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_whoever_may_read_one_file_of_a_run_may_read_all(tmp_path: Path, tiny_run: Path) -> None:
    run = Run.open(tiny_run)
    before = os.umask(0o022)
    try:
        write_run(tmp_path / "run", run.info, run.model, run.tokenizer_json)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()} == {0o644}


def test_weights_with_nan_are_refused_by_name(tmp_path: Path, tiny_run: Path) -> None:
    run = Run.open(tiny_run)
    write_run(tmp_path, run.info, run.model, run.tokenizer_json)
    state = load_file(tmp_path / WEIGHTS_FILE)
    state["fusion.join.bias"][0] = float("nan")
    save_file(state, tmp_path / WEIGHTS_FILE)
    with pytest.raises(DataError, match=r"NaN or infinity in fusion\.join\.bias"):
        Run.open(tmp_path)


def test_a_run_of_another_schema_or_an_unfinished_one_is_refused(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(DataError, match="no run at"):
        Run.open(tmp_path)
    with pytest.raises(DataError, match="no finished run under"):
        newest_run(tmp_path)
    document = json.loads((tiny_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**document, "schema_version": 99}))
    with pytest.raises(DataError, match="schema version 99"):
        Run.open(tmp_path)


def test_a_run_names_its_data_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal_train import pipeline
    from foveal_train.cli.making import Asked
    from foveal_train.cli.train import train as command

    class Stop(Exception):
        pass

    def seen(recipe: object, specs: list[str], *more: object, **others: object) -> None:
        raise Stop(*specs)

    monkeypatch.setattr(pipeline, "train", seen)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stop) as asked:
        command(asked=Asked(data=["brset:data/set"], recipe="edge", out=tmp_path / "run", own_patients=True))
    assert asked.value.args == (f"brset:{tmp_path}/data/set?own-patients",)


def test_a_reader_is_told_when_the_learnt_weights_leave_grading() -> None:
    assert not starved({"epoch": 3, "weights": {"classification": 0.14}})
    assert not starved({"epoch": 3, "weights": {}})
    assert "0.010 in epoch 20" in starved({"epoch": 20, "weights": {"classification": 0.01}})
