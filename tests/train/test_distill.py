"""From teachers to a student: an ordinary run that says who taught it, on a split that its teachers' held-out studies allow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError, DataError
from foveal_train.data import load
from foveal_train.data.synthetic import synthesise
from foveal_train.pipeline import train
from foveal_train.runs.claim import begun
from foveal_train.runs.lessons import ANSWERS
from foveal_train.runs.reporter import Silent
from foveal_train.runs.run import METRICS_FILE, Run
from foveal_train.runs.teachers import Teaching, fingerprint
from foveal_train.training.recipe_file import load_recipe

SMALL = ("optimiser.epochs=1", "image_spec.side_px=32")
pytestmark = pytest.mark.usefixtures("undrawn")


class Heard(Silent):
    """Keeps remarks and rows."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.rows: list[dict[str, object]] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def epoch(self, row: dict[str, object]) -> None:
        self.rows.append(row)


class CutOff(Silent):
    """Stands for Ctrl-C in the first step."""

    def step(self, epoch: int, step: int, steps: int, losses: dict[str, float]) -> None:
        raise KeyboardInterrupt


def test_a_student_is_a_run_that_says_who_taught_it(tmp_path: Path, tiny_run: Path, synth_spec: str) -> None:
    heard = Heard()
    synthesise(tmp_path / "others", patients=12, seed=11, balanced=True, side_px=96)
    strangers = f"brset:{tmp_path / 'others'}"
    teaching = Teaching(teachers=(tiny_run,), unlabelled=(strangers, synth_spec))
    run = train(load_recipe("tiny", SMALL), [synth_spec], tmp_path / "student", teaching=teaching, reporter=heard)
    info, teacher = Run.open(run.path).info, Run.open(tiny_run)
    assert info.distillation is not None
    (by,) = info.distillation.teachers
    assert (by.fingerprint, by.space_id, by.side_px) == (fingerprint(tiny_run), teacher.info.space_id, 64)
    assert by.agreement == pytest.approx(1.0, abs=1e-3)
    assert run.split == teacher.split
    assert info.model.image_spec.side_px == 32
    # Patients of the two generated sets have the same names, so those who are held out are left out of both.
    own, others = load(synth_spec).samples, load(strangers).samples
    held = {each.patient_id for each in own if each.id not in teacher.split["train"]}
    assert 0 < info.distillation.unlabelled_studies <= sum(each.patient_id not in held for each in others)
    left_out = int(heard.remarks[0].partition("; ")[2].partition(" are left out")[0])
    assert left_out >= sum(each.patient_id in held for each in (*own, *others))
    assert info.train_studies == len(teacher.split["train"])
    train_losses = heard.rows[0]["train"]
    assert isinstance(train_losses, dict)
    assert {"distilled_grades", "distilled_vectors", "classification"} <= train_losses.keys()
    assert (tmp_path / ANSWERS).is_dir()
    assert json.loads((run.path / METRICS_FILE).read_text())["split"] == "test"


def test_a_student_that_was_stopped_goes_on_with_its_teachers_alone(tmp_path: Path, tiny_run: Path, synth_spec: str) -> None:
    recipe, out = load_recipe("tiny", SMALL), tmp_path / "student"
    teaching = Teaching(teachers=(tiny_run,))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, [synth_spec], out, teaching=teaching, reporter=CutOff())
    assert begun(out).teaching == teaching
    with pytest.raises(ConfigError, match="other teachers"):
        train(recipe, [synth_spec], out, resume=True)
    known = begun(out)
    run = train(known.recipe, known.specs, out, teaching=known.teaching, resume=True)
    assert run.info.distillation is not None


def test_teachers_of_other_splits_are_refused_and_figures_that_are_not_held_out_say_so(
    tmp_path: Path, tiny_run: Path, few_spec: str, synth_spec: str
) -> None:
    shares = ("split.train=0.5", "split.validation=0.25", "split.test=0.25")
    others = [train(load_recipe("tiny", (*SMALL, *shares, f"seed={s}")), [few_spec], tmp_path / f"{s}").path for s in (0, 1)]
    teaching = Teaching(teachers=tuple(others))
    with pytest.raises(ConfigError, match="do not hold out the same studies"):
        train(load_recipe("tiny", SMALL), [few_spec], tmp_path / "student", teaching=teaching)
    assert not (tmp_path / "student").exists()
    heard = Heard()
    anyway = Teaching(teachers=tuple(others), not_held_out=True, answers=tmp_path / "said")
    run = train(load_recipe("tiny", SMALL), [few_spec], tmp_path / "student", teaching=anyway, reporter=heard)
    assert heard.remarks[0].startswith("warning: figures are NOT held out")
    assert json.loads((run.path / METRICS_FILE).read_text())["warnings"][0].startswith("figures are NOT held out")
    tested = set().union(*(Run.open(path).split["test"] for path in others))
    assert not tested & set(run.split["train"])
    assert run.info.distillation is not None
    assert run.info.distillation.learnt_test > 0
    assert len(list((tmp_path / "said").iterdir())) == 2


def test_who_is_no_teacher_is_refused(tmp_path: Path, tiny_run: Path, few_spec: str) -> None:
    recipe = load_recipe("tiny", SMALL)
    with pytest.raises(DataError, match=r"no run at .*there is no such folder"):
        train(recipe, [few_spec], tmp_path / "student", teaching=Teaching(teachers=(tmp_path / "nobody",)))
    assert not (tmp_path / "student").exists()
    with pytest.raises(ConfigError, match="named twice"):
        Teaching(teachers=(tiny_run, tiny_run))
    with pytest.raises(ConfigError, match="no teacher given"):
        Teaching(teachers=())
