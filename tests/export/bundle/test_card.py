"""The model card says what held-out figures the run has, with their intervals, and where thresholds come from."""

from __future__ import annotations

from pathlib import Path

from bundles import write_bundle

from foveal_export.bundle.card import model_card
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_train.runs.run import Distillation, TaughtBy, read_info

FIGURE = {"value": 0.812, "interval": [0.701, 0.934], "n": 40}
ICDR = {
    "n": 40,
    "majority": {"accuracy": {"value": 0.325, "interval": None, "n": 40}},
    "kappa": FIGURE,
    "accuracy": FIGURE,
    "balanced_accuracy": {"value": 0.5, "interval": None, "reason": "too few"},
    "referable": {"auroc": {"value": None, "reason": "one class"}},
}
METRICS = {
    "split": "test",
    "patients": 40,
    "warnings": ["ICDR: only 40 graded studies"],
    "grading": {
        "full": {"title": "everything the study has", "same_as": None, "heads": {"icdr": ICDR}},
        "image": {"title": "photograph alone", "same_as": "full", "heads": {"icdr": ICDR}},
    },
}


def test_what_the_exporter_says_of_the_model_stands_first(tiny_run: Path, tmp_path: Path) -> None:
    manifest, info = Bundle.open(write_bundle(tmp_path / "bundle")).manifest, read_info(tiny_run)
    about = "About 400 photographs of one camera, for research.\n"
    assert model_card(manifest, info, METRICS, {}, about).splitlines()[2] == about.strip()
    assert model_card(manifest, info, METRICS, {}).splitlines()[2].startswith("A multimodal model")


def test_card_has_figures_with_intervals_thresholds_limits_and_use(tiny_run: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(write_bundle(tmp_path / "bundle")).manifest
    (point,) = manifest.calibration["image"].operating_points
    fitted = SubsetCalibration(operating_points=(point.model_copy(update={"sensitivity_low": 0.85, "patients": 30}),))
    changes = {"made_with": {"torch": "2.0", "commit": "abc"}, "calibration": {"image": fitted}}
    manifest = manifest.model_copy(update=changes)
    card = model_card(manifest, read_info(tiny_run), METRICS, {})
    row = "| everything the study has | 40 | 0.812 [0.701, 0.934] | 0.812 [0.701, 0.934] (0.325) | 0.500 | not defined |"
    assert row in card
    assert "photograph alone" not in card
    assert "- ICDR: only 40 graded studies" in card
    assert "| image | screening | 0.300 | 0.900 (0.850) | 0.800 | 50, 30 |" in card
    assert "| text | default | 0.500 | not fitted |  |  |" in card
    assert "or when its likeliest grade is 2 or worse" in card
    assert "torch 2.0, commit abc" in card
    assert "not a medical device" in card
    assert str(tiny_run.parent) not in card


def test_card_without_figures_says_so(tiny_run: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(write_bundle(tmp_path / "bundle")).manifest
    assert "no held-out metrics" in model_card(manifest, read_info(tiny_run), {}, {})


def test_card_of_a_student_names_its_teachers_by_fingerprint(tiny_run: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(write_bundle(tmp_path / "bundle")).manifest
    by = TaughtBy(name="secret folder", fingerprint="f" * 64, space_id="s", recipe="edge", side_px=384)
    taught = Distillation(teachers=(by,), unlabelled_studies=50)
    info = read_info(tiny_run).model_copy(update={"distillation": taught})
    card = model_card(manifest, info, METRICS, {})
    assert "and on 50 photographs without labels: edge, 384 px, `ffffffffffff`." in card
    assert "secret folder" not in card
    assert "Taught by" not in model_card(manifest, read_info(tiny_run), METRICS, {})
