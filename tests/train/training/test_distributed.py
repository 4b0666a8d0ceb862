"""Two processes under torchrun (gloo): negatives are shared exactly, rows are split, one run is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError
from foveal_train.cli.making import Asked
from foveal_train.cli.train import train
from foveal_train.runs.run import Run
from foveal_train.training.gather import processes

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FOVEAL = ("-m", "foveal_runtime.cli.main")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*TORCHRUN, *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False)


def test_a_process_alone_is_one() -> None:
    assert processes() == 1


def test_processes_without_a_common_folder_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="name one with --out"):
        train(asked=Asked(data=["brset:x"], recipe="tiny"))


@pytest.mark.slow
def test_gathered_negatives_give_the_gradient_of_one_process_with_all_rows() -> None:
    done = _run(str(Path(__file__).with_name("gathering.py")))
    assert done.returncode == 0, done.stderr[-2000:]
    for name, case in json.loads(done.stdout).items():
        assert case["loss"] == pytest.approx(case["alone"], rel=1e-5), name
        assert case["gradient"] < 1e-4, name


@pytest.mark.slow
def test_two_processes_train_one_run_and_split_its_rows(tmp_path: Path, synth_spec: str) -> None:
    small = ("optimiser.epochs=2", "optimiser.batch_size=8", "image_spec.side_px=32", "losses.weighting=softmax",
             "optimiser.keep=best")  # fmt: skip
    settings = [part for override in small for part in ("--set", override)]
    out = tmp_path / "run"
    done = _run(*FOVEAL, "train", "--recipe", "tiny", "--data", synth_spec, "--out", str(out), "--json", *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)  # one document: the second process says nothing
    run = Run.open(document["run"])
    assert run.info.epochs == 2
    assert not (out / "checkpoint").exists()
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2]
    too_many = _run(
        *FOVEAL, "train", "--recipe", "tiny", "--data", synth_spec, "--out", str(tmp_path / "no"), *settings,
        "--set", "optimiser.batch_size=64",
    )  # fmt: skip
    assert too_many.returncode != 0
    assert "too few for 2 processes of 64" in too_many.stderr
