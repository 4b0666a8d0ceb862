"""A training that is killed outright, and goes on: a real process, a real SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

EPOCHS = 4


def _command(out: Path, spec: str, *more: str) -> list[str]:
    settings = (f"optimiser.epochs={EPOCHS}", "optimiser.batch_size=4", "image_spec.side_px=32", "optimiser.ema=0.9",
                "losses.weighting=softmax", "losses.image_reconstruction=1", "decoders.image_channels=16")  # fmt: skip
    chosen = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "foveal_runtime.cli.main", "train", "--recipe", "tiny", "--data", spec, "--out", str(out),
            "--json", *chosen, *more]  # fmt: skip


def _finished_epochs(out: Path) -> int:
    try:
        state = json.loads((out / "checkpoint" / "loop.json").read_text())
    except (OSError, ValueError):  # not there yet, or being swapped
        return 0
    return int(state["epoch"])


@pytest.mark.slow
def test_a_training_that_is_killed_resumes_to_the_weights_of_one_that_was_not(tmp_path: Path, synth_spec: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(_command(whole, synth_spec), check=True, capture_output=True, env=environment, timeout=300)
    process = subprocess.Popen(_command(cut, synth_spec), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + 240
        while _finished_epochs(cut) < 1:
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, "no epoch was finished in time"
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    stood_at = max(_finished_epochs(cut), 1)
    assert not (cut / "run.json").exists()
    assert stood_at < EPOCHS, "the training was over before it was killed"
    subprocess.run(_command(cut, synth_spec, "--resume"), check=True, capture_output=True, env=environment, timeout=300)
    ours, theirs = load_file(cut / "model.safetensors"), load_file(whole / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (cut / "history.jsonl").read_text() == (whole / "history.jsonl").read_text()
