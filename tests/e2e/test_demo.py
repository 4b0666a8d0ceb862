"""`foveal demo`: what it grades, what a killed or failed step leaves, and what it says before it starts anything."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import photograph, write_bundle
from commands import foveal, one_line
from rich.console import Console
from servers import reachable_folder

from foveal_export import demo as make_half
from foveal_runtime.cli.demo import _MAKE_NEEDS
from foveal_runtime.cli.steps import Journal, Outcome, Step, Steps
from foveal_runtime.errors import CheckFailed, ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED, EXAMPLES = ROOT / "models" / "edge", ROOT / "examples" / "photographs"


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that the archive's PostgreSQL can reach."""
    with reachable_folder() as made:
        yield made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("demo") / "bundle")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, two of them of one person."""
    made = tmp_path_factory.mktemp("photographs")
    rows = [("a.jpg", 0, "one", "right"), ("b.jpg", 2, "two", "right"), ("c.jpg", 4, "two", "left")]
    for seed, (name, *_) in enumerate(rows):
        (made / name).write_bytes(photograph(seed))
    with (made / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "icdr", "patient", "eye"), *rows])
    return made


def run(*arguments: str | Path, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)


@pytest.fixture(scope="module")
def served(bundle: Path, photographs: Path) -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    """A finished serve half, and what it said."""
    with reachable_folder() as made:
        done = run("--half", "serve", "--bundle", bundle, "--photographs", photographs, "--out", made / "demo")
        assert done.returncode == 0, done.stderr[-3000:]
        yield made, done


def steps_of(folder: Path, half: str) -> dict[str, dict[str, Any]]:
    document = json.loads((folder / "steps.json").read_text())
    return {step["name"]: step for step in document["halves"].get(half, [])}


@pytest.mark.slow  # CI runs `make demo`, which goes this way
def test_the_serve_half_grades_the_example_photographs_with_the_shipped_model(folder: Path) -> None:
    if not SHIPPED.is_dir() or not EXAMPLES.is_dir():
        pytest.skip("models/edge and examples/photographs are not here: a source archive holds neither")
    done = run("--half", "serve", "--bundle", SHIPPED, "--photographs", EXAMPLES, "--out", folder / "demo", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    half = json.loads(done.stdout)["halves"]["serve"]
    assert {step["step"] for step in half["steps"]} == {"serve", "grade", "exam", "embed", "index", "search"}
    rows = {Path(row["file"]).name: row for row in half["grades"]}
    assert len(rows) == 6
    assert rows["blurred.jpg"]["remark"] == "refused: out of focus"
    graded = [row for row in rows.values() if row["grade"] is not None]
    assert len(graded) == 5
    assert sum(abs(row["grade"] - row["label"]) <= 1 for row in graded) >= 4
    assert (folder / "demo" / "serve" / "search.html").is_file()


def test_the_serve_half_shows_grades_beside_labels_and_what_to_do_next(
    served: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = served
    for said in (
        "Graded photographs beside their labels",
        "serve half:",
        "3 of 3 photographs graded",
        "Open next",
        "Type next",
    ):
        assert said in done.stdout, done.stdout
    assert str(folder / "demo" / "serve" / "search.html") in done.stdout
    assert " exam " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_resume_repeats_only_what_is_missing(
    served: tuple[Path, subprocess.CompletedProcess[str]], photographs: Path
) -> None:
    folder = served[0]
    path = folder / "demo" / "steps.json"
    document = json.loads(path.read_text())
    document["halves"]["serve"] = [step for step in document["halves"]["serve"] if step["name"] != "search"]
    path.write_text(json.dumps(document))
    again = run("--half", "serve", "--resume", folder / "demo")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "grade: finished earlier" in again.stderr
    assert " search --image " in again.stderr
    assert " grade " + str(photographs) not in again.stderr
    assert "search" in steps_of(folder / "demo", "serve")


@pytest.mark.slow
def test_a_killed_demo_keeps_its_finished_steps_and_goes_on(folder: Path, bundle: Path, photographs: Path) -> None:
    words = ("demo", "--half", "serve", "--bundle", bundle, "--photographs", photographs, "--out", folder / "demo")
    command = [sys.executable, "-m", "foveal_runtime.cli.main", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        end = time.monotonic() + 120
        while not (folder / "demo" / "steps.json").is_file() or "grade" not in steps_of(folder / "demo", "serve"):
            assert killed.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    graded = steps_of(folder / "demo", "serve")["grade"]
    again = run("--half", "serve", "--resume", folder / "demo")
    assert again.returncode == 0, again.stderr[-3000:]
    assert steps_of(folder / "demo", "serve")["grade"] == graded
    assert {"exam", "embed", "index", "search"} <= set(steps_of(folder / "demo", "serve"))


def test_a_failed_step_names_the_command_that_repeats_it_and_the_resume(folder: Path, photographs: Path, bundle: Path) -> None:
    broken = folder / "broken"
    shutil.copytree(photographs, broken)
    (broken / "b.jpg").write_bytes(b"no photograph at all")
    done = run("--half", "serve", "--bundle", bundle, "--photographs", broken, "--out", folder / "demo")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "grade" in last
    assert "failed with exit code 2" in last
    assert f"demo --resume {folder / 'demo'}" in last


def test_without_pytorch_the_make_half_is_refused_by_name_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("foveal_runtime.cli.demo.find_spec", lambda name: None if name in _MAKE_NEEDS else object())
    said = one_line(foveal("demo", "--half", "make").stderr)
    assert "torch" in said
    assert "foveal[export,store]" in said
    assert not list(tmp_path.iterdir())


def test_without_the_model_the_demo_says_where_it_is_and_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("foveal_runtime.bundle.shipped._CHECKOUT", tmp_path)
    said = one_line(foveal("demo", "--half", "serve").stderr)
    for word in ("models/edge", "examples/photographs", "repository", "--bundle", "--photographs"):
        assert word in said
    assert not list(tmp_path.iterdir())


def test_a_resume_takes_no_new_settings(tmp_path: Path) -> None:
    said = one_line(foveal("demo", "--resume", str(tmp_path), "--seed", "1").stderr)
    assert "--seed" in said


def test_a_folder_that_holds_a_demo_is_not_begun_again(tmp_path: Path) -> None:
    Journal.begin(tmp_path / "demo", {"seed": 0})
    with pytest.raises(ConfigError, match="--resume"):
        Journal.begin(tmp_path / "demo", {"seed": 0})


class _Planted(Steps):
    """Steps whose commands are answered by a list, in order; they are kept."""

    def __init__(self, folder: Path, outcomes: list[Outcome]) -> None:
        super().__init__(Journal.begin(folder, {}), "make", Console(quiet=True))
        self.asked: list[tuple[str, ...]] = []
        self._outcomes = outcomes

    def run(self, *words: str | Path, log: str = "") -> Outcome:
        self.asked.append(tuple(map(str, words)))
        if len(self.asked) == 1 and self.mend is not None:
            report = self.folder / "bundle-int8.parity.json"
            report.write_text(json.dumps({"mend": self.mend}))
        return self._outcomes[len(self.asked) - 1]

    mend: dict[str, Any] | None = None


def test_an_export_out_of_budget_is_mended_by_the_command_that_it_names(tmp_path: Path) -> None:
    steps = _Planted(tmp_path / "demo", [Outcome(code=1, stdout=""), Outcome(code=0, stdout="{}")])
    bundle = steps.folder / "bundle-int8"
    steps.mend = {"command": ["export", "RUN", "--budget", "min_cosine=0.9"], "why": "least cosine 0.91"}
    result, where = make_half._export(steps, steps.folder / "run", bundle)
    assert steps.asked[1] == ("export", "RUN", "--budget", "min_cosine=0.9", "--json")
    assert "out of the default budget (least cosine 0.91)" in result
    assert where == bundle


def test_an_export_that_fails_without_a_mend_fails_the_demo(tmp_path: Path) -> None:
    steps = _Planted(tmp_path / "demo", [Outcome(code=1, stdout="")])
    with pytest.raises(CheckFailed, match="failed with exit code 1"):
        make_half._export(steps, steps.folder / "run", steps.folder / "bundle-int8")


def test_a_mend_of_an_earlier_export_is_not_used(tmp_path: Path) -> None:
    steps = _Planted(tmp_path / "demo", [Outcome(code=1, stdout="")])
    (steps.folder / "bundle-int8.parity.json").write_text(json.dumps({"mend": {"command": ["export"], "why": "old"}}))
    with pytest.raises(CheckFailed):
        make_half._export(steps, steps.folder / "run", steps.folder / "bundle-int8")
    assert len(steps.asked) == 1


def test_a_verification_out_of_tolerance_is_a_result_and_no_failure(tmp_path: Path) -> None:
    steps = _Planted(tmp_path / "demo", [Outcome(code=1, stdout=""), Outcome(code=2, stdout="")])
    result, _ = make_half._verify(steps, steps.folder / "bundle-int8", steps.folder / "run")
    assert "NOT within its tolerances" in result
    with pytest.raises(CheckFailed, match="exit code 2"):
        make_half._verify(steps, steps.folder / "bundle-int8", steps.folder / "run")


def test_a_training_that_was_killed_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    steps = _Planted(tmp_path / "demo", [Outcome(code=0, stdout="{}")])
    run_ = steps.folder / "run"
    run_.mkdir()
    (run_ / "request.json").write_text("{}")
    make_half._train(steps, run_, "brset:data", "0", 3)
    assert "--resume" in steps.asked[0]
    (run_ / "run.json").write_text("{}")
    make_half._train(steps, run_, "brset:data", "0", 3)
    assert len(steps.asked) == 1


def test_the_make_half_grades_a_photograph_of_each_grade_beside_its_label() -> None:
    held_out = {Path("a"): 3, Path("b"): 0, Path("c"): 3, Path("d"): 1}
    shown = make_half._one_a_grade(held_out)
    assert list(shown.items()) == [(Path("b"), 0), (Path("d"), 1), (Path("a"), 3)]
    answers = [{"icdr": {"grade": 0}}, {"icdr": {"grade": 2}}, {"icdr": None}]
    assert "labelled ICDR 0, 1, 3 graded 0, 2, none" in make_half._graded(list(shown.values()), answers)


def test_finished_steps_are_read_back(tmp_path: Path) -> None:
    journal = Journal.begin(tmp_path / "demo", {"seed": 3})
    journal.record("serve", Step(name="grade", seconds=1.5, result="5 graded", where="grades.json"))
    again = Journal.resume(tmp_path / "demo")
    assert again.settings == {"seed": 3}
    assert again.steps("serve") == [Step(name="grade", seconds=1.5, result="5 graded", where="grades.json")]
