"""Runs are listed and compared, say where they come from, and go on where they were stopped."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import foveal, one_line

from foveal_train import pipeline
from foveal_train.runs.listing import differences, listed
from foveal_train.runs.run import Run, read_info
from foveal_train.runs.samples import load_samples
from foveal_train.training.trainer import Trainer

SMALL = ("--set", "image_spec.side_px=32", "--set", "optimiser.batch_size=16")


@pytest.fixture
def folder(tmp_path: Path, tiny_run: Path) -> Path:
    """A folder with a finished run."""
    shutil.copytree(tiny_run, tmp_path / "runs" / "one")
    return tmp_path / "runs"


def test_a_run_says_which_data_command_commit_and_machine_it_comes_from(tiny_run: Path, synth_spec: str) -> None:
    from foveal_train.data.fingerprint import fingerprint

    info = Run.open(tiny_run).info
    assert info.data_sha256 == fingerprint(load_samples([synth_spec]), named=True)
    assert info.origin is not None
    assert info.origin.commit
    assert {"python", "processor", "threads", "gpu"} <= info.origin.environment.keys()
    document = json.loads((tiny_run / "run.json").read_text())
    del document["origin"], document["data_sha256"]
    assert type(info).model_validate(document).origin is None  # as an older foveal wrote it


def test_the_list_has_finished_and_unfinished_runs_with_their_figures(folder: Path, synth_spec: str) -> None:
    begun = folder / "two"
    begun.mkdir()
    request = {"recipe": {"name": "edge", "optimiser": {"epochs": 30}}, "data": [synth_spec]}
    (begun / "request.json").write_text(json.dumps(request))
    (folder / "notes").mkdir()
    runs = {one.path.name: one for one in listed(folder)}
    assert set(runs) == {"one", "two"}
    assert runs["one"].finished
    metrics = json.loads((folder / "one" / "metrics.json").read_text())
    kappa = metrics["grading"]["image"]["heads"]["icdr"]["kappa"]["value"]
    assert runs["one"].figures["kappa"] == kappa
    assert runs["one"].figures["referable_auroc"] is not None
    assert not runs["two"].finished
    assert (runs["two"].epochs, runs["two"].of_epochs) == (0, 30)
    shown = foveal("runs", str(folder))
    assert shown.returncode == 0
    assert "0 of 30, unfinished" in shown.stdout
    documents = json.loads(foveal("runs", str(folder), "--json").stdout)["runs"]
    assert [one["recipe"] for one in documents] == ["tiny", "edge"]


def test_two_runs_are_compared_key_by_key(folder: Path) -> None:
    shutil.copytree(folder / "one", folder / "three")
    path = folder / "three" / "run.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document["recipe"]["optimiser"]["learning_rate"] = 0.25
    document["data_sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    found = {key: (one, other) for key, one, other in differences(read_info(folder / "one"), read_info(folder / "three"))}
    assert found.keys() == {"recipe.optimiser.learning_rate", "data_sha256"}
    assert found["recipe.optimiser.learning_rate"] == ("0.001", "0.25")
    shown = foveal("runs", str(folder / "one"), str(folder / "three"))
    assert "recipe.optimiser.learning_rate" in shown.stdout
    same = foveal("runs", str(folder / "one"), str(folder / "one"), "--json")
    assert json.loads(same.stdout)["differences"] == {str(folder / "one"): []}


def test_a_folder_without_runs_is_empty_and_no_folder_is_refused(tmp_path: Path) -> None:
    assert listed(tmp_path) == []
    assert "no folder" in one_line(foveal("runs", str(tmp_path / "nowhere")).stderr)


def _stopped(out: Path, synth_spec: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    """A training that a person stops in its second epoch; what it said."""
    epoch = Trainer.epoch

    def once(self: Trainer, report: Any = None) -> dict[str, Any]:
        if self.state.epoch == 1:
            raise KeyboardInterrupt
        return epoch(self, report)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "epoch", once)
        done = foveal("train", "--recipe", "tiny", "--data", synth_spec, "--out", str(out), *SMALL, *more)
    assert done.returncode == 130
    return done.stderr


def test_who_stops_a_training_is_told_how_to_go_on_and_that_needs_no_other_flag(
    tmp_path: Path, synth_spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    said = _stopped(out, synth_spec, monkeypatch, "--skip-bad")
    assert f"1 epochs are kept. Go on with: foveal train --resume --out {out}" in said
    asked: dict[str, Any] = {}
    train = pipeline.train

    def heard(*arguments: Any, **options: Any) -> Run:
        asked.update(options)
        return train(*arguments, **options)

    monkeypatch.setattr(pipeline, "train", heard)
    done = foveal("train", "--resume", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert asked["skip_bad"]
    run = Run.open(out)
    assert run.info.epochs == 2
    assert run.info.model.image_spec.side_px == 32


def test_a_resume_of_data_that_have_changed_is_refused(
    tmp_path: Path, synth_spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(synth_spec.partition(":")[2], copy)
    _stopped(tmp_path / "run", f"brset:{copy}", monkeypatch)
    table = next(copy.glob("label*.csv"))
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    done = foveal("train", "--resume", "--out", str(tmp_path / "run"))
    assert "are not what it was started with" in one_line(done.stderr.splitlines(keepends=True)[-1])


def test_a_training_without_data_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = foveal("train", "--recipe", "tiny", "--out", str(tmp_path / "run"))
    assert "no data given" in one_line(done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("given", "kept"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_a_person_asks_otherwise(
    given: str | None, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    foveal("train", "--recipe", "tiny", "--out", str(tmp_path / "run"))
    assert os.environ["OMP_WAIT_POLICY"] == kept


def test_a_resume_that_names_another_recipe_is_refused(
    tmp_path: Path, synth_spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stopped(tmp_path / "run", synth_spec, monkeypatch)
    done = foveal("train", "--resume", "--out", str(tmp_path / "run"), "--recipe", "edge")
    assert "another recipe or data" in done.stderr
