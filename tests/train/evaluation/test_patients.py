"""Figures over patients: the worst gradable photograph decides, and who can't be graded counts both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graded import Trained, make_arrays, make_samples
from PIL import Image
from rich.console import Console

from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.notes import NoteTokeniser
from foveal_train.data import Sample
from foveal_train.data.source import load
from foveal_train.evaluation import evaluate_arrays, table
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.patients import gradable_photographs, patient_figures
from foveal_train.evaluation.report_grading import patient_section
from foveal_train.model.model import MultimodalModel

Tiny = tuple[MultimodalModel, NoteTokeniser]


def test_a_patient_is_the_worst_gradable_eye_and_undecided_ones_count_both_ways() -> None:
    #                   referable   healthy   referable, its    healthy, one   referable, both
    #                   and found   cleared   eye ungradable    ungradable     ungradable
    patients = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"]
    truth = np.asarray([2, 0, 1, 0, 3, 0, 0, 0, 4, 4])
    answer = np.asarray([3, 0, 1, 0, 4, 0, 0, 0, 4, 4])
    gradable = np.asarray([True, True, True, True, False, True, True, False, False, False])
    found = patient_figures(truth, answer, answer >= 2, gradable, resample(patients, count=20, seed=0))
    assert {key: found[key] for key in ("patients", "referable", "without_gradable", "undecided")} == {
        "patients": 5,
        "referable": 3,
        "without_gradable": 1,
        "undecided": 3,
    }
    referred, cleared = found["undecided_referred"], found["undecided_cleared"]
    assert (referred["sensitivity"]["value"], referred["specificity"]["value"]) == (1.0, 0.5)
    assert (cleared["sensitivity"]["value"], cleared["specificity"]["value"]) == (pytest.approx(1 / 3), 1.0)
    assert found["kappa"]["n"] == 4


def test_an_ungradable_photograph_of_a_referred_patient_changes_nothing() -> None:
    figures = [
        patient_figures(
            np.asarray([2, 2]), np.asarray([2, 0]), np.asarray([True, False]), gradable, resample(["a", "a"], count=0, seed=0)
        )
        for gradable in (np.asarray([True, True]), np.asarray([True, False]))
    ]
    assert figures[0] == figures[1]
    assert figures[0]["undecided"] == 0


def test_a_data_set_that_names_patients_has_figures_over_them_in_every_table(tiny: Tiny) -> None:
    arrays = make_arrays(make_samples(40), tiny[1])
    metrics = evaluate_arrays(tiny[0], arrays, Trained(), tokenise=tiny[1], bootstrap=10)
    assert metrics["patient_level"].keys() == {"full", "image"}
    assert metrics["patient_level"]["full"]["patients"] == 20
    console = Console(width=200, record=True)
    console.print(table(metrics))
    assert "Patients, by their worst gradable photograph" in console.export_text()
    assert "undecided referred" in patient_section(metrics)
    alone = [Sample(**{**_fields(sample), "patient_id": sample.id}) for sample in arrays.samples]
    lonely = evaluate_arrays(tiny[0], make_arrays(alone, tiny[1]), Trained(), tokenise=tiny[1], bootstrap=10)
    assert lonely["patient_level"] == {}
    assert patient_section(lonely) == ""


def _fields(sample: Sample) -> dict[str, object]:
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


def test_gradable_is_what_the_runtime_lets_pass(tmp_path: Path, idrid: Path) -> None:
    spoilt = tmp_path / "black.png"
    Image.new("RGB", (300, 300)).save(spoilt)
    samples = [*load(f"idrid:{idrid}").samples[:1], Sample(id="black", patient_id="p", image_path=spoilt)]
    samples.append(Sample(id="no photograph", patient_id="q", image_path=None))
    assert gradable_photographs(samples, ImageSpec(side_px=64)).tolist() == [True, False, True]
