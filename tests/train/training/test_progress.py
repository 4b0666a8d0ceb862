"""What a person, or a log file, is shown while a run trains."""

from __future__ import annotations

import pytest

from foveal_train.training.progress import ProgressReporter


def test_without_a_terminal_a_stage_and_an_epoch_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(3) as reporter:
        reporter.stage("training")
        reporter.step(1, 1, 2, {"loss": 1.5})
        reporter.step(1, 2, 2, {"loss": 1.25})
        reporter.epoch({"epoch": 1, "train": {"loss": 1.25}, "validation": {"loss": 2.0}})
    said = capsys.readouterr()
    assert said.out == ""
    stage, epoch = said.err.splitlines()
    assert stage.endswith(" training")
    assert epoch.endswith(" epoch 1/3  loss 1.250  validation 2.000")


def test_a_quiet_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressReporter(3, quiet=True) as reporter:
        reporter.stage("training")
        reporter.epoch({"epoch": 1, "train": {"loss": 1.25}})
    assert capsys.readouterr().err == ""
