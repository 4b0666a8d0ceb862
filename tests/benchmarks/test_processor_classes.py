"""Bundles on processors of several classes: the runs of random weights that are exported for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from foveal_train.runs.run import Run


def test_a_run_of_random_weights_reads_records_as_its_model_does(program: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Its features were the six of before, its structured encoder wanted seven, and its export failed half way."""
    program("processor_classes").untrained("tiny", tmp_path, patients=8)
    run = Run.open(tmp_path / "run")
    width = len(run.info.features.spec.features)
    assert run.model.structured is not None
    assert run.model.structured(torch.zeros(1, width)).shape[0] == 1
