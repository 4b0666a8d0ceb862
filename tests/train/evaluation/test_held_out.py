"""Which studies a run is judged on: a photograph that training saw never counts, whatever it is called."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from foveal_runtime.errors import DataError
from foveal_train.evaluation.held_out import own_test, unseen
from foveal_train.runs.run import Run


@dataclass(frozen=True)
class Info:
    data: tuple[str, ...]
    recipe: dict[str, Any]


@dataclass(frozen=True)
class FakeRun:
    """The two things of a run that decide what it has seen; opening a real one would need a trained model."""

    path: Path
    info: Info
    split: dict[str, list[str]]


def write_folder(root: Path, names: list[str], *, seed: int = 0) -> str:
    """An IDRiD-shaped data set of noise photographs."""
    images = root / "B. Disease Grading" / "1. Original Images" / "a. Training Set"
    labels = root / "B. Disease Grading" / "2. Groundtruths" / "a. IDRiD_Disease Grading_Training Labels.csv"
    images.mkdir(parents=True)
    labels.parent.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(images / f"{name}.jpg")
    rows = "".join(f"{name},{i % 5},0\n" for i, name in enumerate(names))
    labels.write_text("Image name,Retinopathy grade,Risk of macular edema\n" + rows, encoding="utf-8")
    return f"idrid:{root}"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    return write_folder(tmp_path / "own", [f"p{i}" for i in range(10)])


def run_on(spec: str, **split: list[str]) -> Run:
    return cast(Run, FakeRun(Path("run"), Info((spec,), {}), split))


def names(held_out: Any) -> list[str]:
    return [sample.id for sample in held_out.samples]


def test_a_run_is_judged_on_its_own_test_split(spec: str) -> None:
    found = own_test(run_on(spec, train=["p0", "p1"], validation=["p2"], test=["p3", "p4"]))
    assert names(found) == ["p3", "p4"]
    assert (found.split, found.remarks) == ("test", ())


def test_a_run_without_a_test_split_is_judged_on_validation_and_says_so(spec: str) -> None:
    found = own_test(run_on(spec, train=["p0"], validation=["p2"], test=[]))
    assert found.split == "validation"
    assert "flatters" in found.remarks[0]
    with pytest.raises(DataError, match="kept no study back"):
        own_test(run_on(spec, train=["p0"], validation=[], test=[]))


def test_a_test_study_that_is_gone_is_an_error(spec: str) -> None:
    with pytest.raises(DataError, match="1 of 2 test studies"):
        own_test(run_on(spec, train=["p0"], test=["p3", "lost"]))


def test_training_and_validation_studies_are_left_out_of_named_data(spec: str) -> None:
    found = unseen(run_on(spec, train=["p0", "p1"], validation=["p2"], test=["p3"]), [spec])
    assert names(found) == [f"p{i}" for i in range(3, 10)]
    assert found.seen == 3
    assert "3 studies were left out" in found.remarks[0]


def test_a_renamed_copy_of_a_training_photograph_is_recognised(spec: str, tmp_path: Path) -> None:
    copy = write_folder(tmp_path / "copy", ["new", "other"], seed=9)
    inside = "B. Disease Grading/1. Original Images/a. Training Set"
    shutil.copy(tmp_path / "own" / inside / "p0.jpg", tmp_path / "copy" / inside / "new.jpg")
    found = unseen(run_on(spec, train=["p0"]), [copy])
    assert names(found) == ["other"]


def test_other_photographs_with_the_same_names_are_not_mistaken_for_seen_ones(spec: str, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", ["p0", "p1"], seed=9)
    found = unseen(run_on(spec, train=["p0", "p1"]), [other])
    assert names(found) == ["p0", "p1"]
    assert found.seen == 0


def test_equal_names_count_as_seen_when_the_runs_own_data_is_gone(spec: str, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", ["p0", "p9"], seed=9)
    run = run_on(spec, train=["p0"])
    shutil.rmtree(tmp_path / "own")
    found = unseen(run, [other])
    assert names(found) == ["p9"]
    assert "ids alone" in found.remarks[0]


def test_data_that_was_all_seen_is_refused_unless_kept_on_purpose(spec: str) -> None:
    run = run_on(spec, train=[f"p{i}" for i in range(10)])
    with pytest.raises(DataError, match="has seen every study"):
        unseen(run, [spec])
    kept = unseen(run, [spec], keep_seen=True)
    assert len(kept.samples) == 10
    assert "nothing of new patients" in kept.remarks[0]
