"""A whole evaluation of a tiny model: what is reported, what is left out and why, and that it is a JSON document."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graded import Trained, make_arrays, make_samples
from rich.console import Console

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.study.labels import ICDR, SCHEMES
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality
from foveal_train.evaluation import evaluate_arrays, table
from foveal_train.evaluation.subgroups import subgroups
from foveal_train.evaluation.warn import warnings_of
from foveal_train.model.model import MultimodalModel
from foveal_train.runs import calibration
from foveal_train.training.arrays import StudyArrays, with_notes
from foveal_train.training.stripped import without_dr_sentences

Tiny = tuple[MultimodalModel, NoteTokeniser]
IMAGE, TEXT, STRUCTURED = Modality


@pytest.fixture(scope="module")
def arrays(tiny: Tiny) -> StudyArrays:
    studies: StudyArrays = make_arrays(make_samples(80), tiny[1])
    return studies


@pytest.fixture(scope="module")
def metrics(tiny: Tiny, arrays: StudyArrays) -> dict[str, Any]:
    return evaluate_arrays(tiny[0], arrays, Trained(), tokenise=tiny[1], bootstrap=50)


def every_figure(node: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        here = [(path, node)] if {"value", "interval", "n"} <= node.keys() else []
        return here + [found for key, value in node.items() for found in every_figure(value, f"{path}/{key}")]
    if isinstance(node, list):
        return [found for i, value in enumerate(node) for found in every_figure(value, f"{path}/{i}")]
    return []


def test_metrics_are_json_without_nan_and_every_missing_number_has_a_reason(metrics: dict[str, Any]) -> None:
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    figures = every_figure(metrics)
    assert len(figures) > 100
    for path, figure in figures:
        if figure["value"] is None or figure["interval"] is None:
            assert figure.get("reason"), path
        if figure["interval"] is not None:
            low, high = figure["interval"]
            assert math.isfinite(low), path
            assert low <= high, path


def test_the_four_inputs_come_first_and_each_trained_subset_follows(metrics: dict[str, Any]) -> None:
    assert list(metrics["grading"])[:4] == ["full", "full_without_dr", "image+structured", "image"]
    assert set(metrics["grading"]) >= set(metrics["subsets"])


def test_unlabelled_studies_are_skipped_by_the_head_that_lacks_the_label(metrics: dict[str, Any]) -> None:
    heads = metrics["grading"]["full"]["heads"]
    assert heads["sdrg"]["n"] == 80
    assert heads["icdr"]["n"] == 80 - len(range(0, 80, 11))
    assert sum(map(sum, heads["icdr"]["confusion"])) == heads["icdr"]["n"]
    assert "referable" not in heads["sdrg"]


def test_the_same_seed_gives_the_same_document(tiny: Tiny, arrays: StudyArrays, metrics: dict[str, Any]) -> None:
    assert evaluate_arrays(tiny[0], arrays, Trained(), tokenise=tiny[1], bootstrap=50) == metrics


def test_nothing_is_reported_for_untrained_heads_and_subsets(tiny: Tiny, arrays: StudyArrays) -> None:
    trained = Trained(trained_heads=(ICDR,), subsets=(frozenset({IMAGE}), frozenset({IMAGE, STRUCTURED})), aligned=())
    found = evaluate_arrays(tiny[0], arrays, trained, tokenise=tiny[1], bootstrap=10)
    assert set(found["grading"]) == {"full", "image+structured", "image"}
    assert all(set(one["heads"]) == {"icdr"} for one in found["grading"].values())
    assert found["retrieval"] is None
    assert {"what": "retrieval", "reason": "text was not trained"} in found["left_out"]
    # Notes are not shown to a model that never learnt to read: what it is shown is photograph and record.
    assert set(found["grading"]["full"]["subsets"]) == {"image", "image+structured"}


def test_studies_whose_modalities_were_never_trained_together_are_left_out_and_counted(tiny: Tiny, arrays: StudyArrays) -> None:
    trained = Trained(subsets=(frozenset(Modality), frozenset({IMAGE})))
    found = evaluate_arrays(tiny[0], arrays, trained, tokenise=tiny[1], bootstrap=10)
    full = found["grading"]["full"]
    assert set(full["subsets"]) == {"image", "image+text+structured"}
    assert full["studies"] + full["untrained"] == 80
    assert full["untrained"] > 0
    assert found["retrieval"]["independent"] is None
    assert any(one["what"] == "retrieval independent" for one in found["left_out"])


def test_photographs_alone_are_one_input_and_not_four(tiny: Tiny) -> None:
    samples = [replace(s, note="", note_without_dr="", record=None, findings=()) for s in make_samples(40)]
    trained = Trained(trained_heads=(ICDR,), subsets=(frozenset({IMAGE}),), aligned=())
    found = evaluate_arrays(tiny[0], make_arrays(samples, tiny[1]), trained, tokenise=tiny[1], bootstrap=10)
    assert set(found["grading"]) == {"full", "image"}
    assert found["grading"]["image"]["same_as"] == "full"
    assert list(found["subgroups"].get("full", {})) == ["camera"]


def test_notes_without_dr_sentences_show_the_model_nothing_of_the_label(tiny: Tiny, arrays: StudyArrays) -> None:
    stripped = without_dr_sentences(arrays, tiny[1])
    assert stripped is not None
    for row, sample in enumerate(arrays.samples):
        assert "retinopathy" not in sample.note_without_dr.lower().replace("hypertensive retinopathy", "")
        if sample.note and not sample.note_without_dr:
            assert not stripped.present_NM[row, 1]
    assert without_dr_sentences(stripped_notes(arrays, tiny[1]), tiny[1]) is None


def stripped_notes(arrays: StudyArrays, tokenise: NoteTokeniser) -> StudyArrays:
    samples = tuple(replace(s, note=s.note_without_dr) for s in arrays.samples)
    return replace(with_notes(arrays, [s.note for s in samples], tokenise), samples=samples)


def test_empty_notes_that_a_recipe_keeps_as_text_stay_text_when_stripped(tiny: Tiny, arrays: StudyArrays) -> None:
    kept = with_notes(arrays, [s.note for s in arrays.samples], tiny[1], keep_empty=True)
    stripped = without_dr_sentences(kept, tiny[1])
    assert stripped is not None
    assert stripped.present_NM[:, 1].all()


def test_retrieval_reports_both_protocols_with_the_ceiling_of_the_notes_at_hand(
    metrics: dict[str, Any], arrays: StudyArrays
) -> None:
    has_note = arrays.rows(TEXT)
    counts = np.unique(arrays.note_groups_N[has_note], return_counts=True)[1]
    for protocol in ("independent", "joint"):
        found = metrics["retrieval"][protocol]["text_to_image"]
        assert found["queries"] == has_note.sum()
        assert found["gallery"] == 80
        assert found["strict"]["ceiling"]["5"] == pytest.approx(np.minimum(counts, 5).sum() / counts.sum())
        assert set(found["labels"]) == {"findings", "icdr"}
    strict = metrics["retrieval"]["independent"]["text_to_image"]["strict"]
    for k in ("1", "5", "10"):
        assert strict["recall"][k]["value"] <= strict["ceiling"][k] + 1e-9


def test_probabilities_are_calibrated_by_the_temperature_of_what_each_study_showed(tiny: Tiny, arrays: StudyArrays) -> None:
    fitted = calibration.fit(tiny[0], arrays, SCHEMES, Trained().subsets)
    found = evaluate_arrays(tiny[0], arrays, Trained(calibration=fitted), tokenise=tiny[1], bootstrap=0)
    full = found["grading"]["full"]
    assert set(full["heads"]["icdr"]["temperature"]) == set(full["subsets"])
    assert full["heads"]["icdr"]["temperature"]["image"] == fitted["image"].temperature[ICDR] != 1.0
    points = found["grading"]["image"]["heads"]["icdr"]["referable"]["operating_points"]
    # Fitted on these very studies; the scores it was chosen on were calibrated without each one's patient, so nearly the same.
    point = fitted["image"].operating_points[0]
    assert (points[0]["name"], points[0]["fitted"]) == (point.name, point.studies > 0)
    if point.sensitivity is not None:
        assert points[0]["sensitivity"]["value"] == pytest.approx(point.sensitivity, abs=0.1)


def test_subgroups_cover_every_study_once(arrays: StudyArrays, metrics: dict[str, Any]) -> None:
    for attribute in ("sex", "age", "eye", "camera"):
        rows = subgroups(arrays.samples, attribute)
        np.testing.assert_array_equal(np.sum(list(rows.values()), axis=0), 1)
        shown = metrics["subgroups"]["full"][attribute]
        assert sum(one["n"] for one in shown.values()) == metrics["grading"]["full"]["heads"]["icdr"]["n"]
    assert list(subgroups(arrays.samples, "age"))[-1] == "unknown"
    assert next(iter(subgroups(arrays.samples, "age"))) == "under 40"


def test_an_attribute_with_one_value_throughout_is_no_subgroup(arrays: StudyArrays) -> None:
    same = [replace(sample, camera="A") for sample in arrays.samples]
    assert subgroups(same, "camera") == {}


def test_a_lopsided_test_set_is_warned_about_in_words(tiny: Tiny) -> None:
    samples = make_samples(60)
    for i, sample in enumerate(samples):
        samples[i] = replace(sample, labels=replace(sample.labels, icdr=4 if i < 3 else 0))
    found = evaluate_arrays(tiny[0], make_arrays(samples, tiny[1]), Trained(), tokenise=tiny[1], bootstrap=10)
    assert any("95.0 %" in text and "always answering 0" in text for text in found["warnings"])
    assert any("ceiling" in text or "no text-only query can exceed" in text for text in found["warnings"])


def test_the_table_shows_figures_intervals_and_warnings(metrics: dict[str, Any]) -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table(metrics))
    text = console.export_text()
    for expected in ("ICDR grade", "Referable DR", "Always answering grade", "best a note can do", "joint", " to "):
        assert expected in text
    for warning in metrics["warnings"]:
        assert warning[:40] in text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_studies_give_a_document_with_reasons_and_no_crash(tiny: Tiny, count: int) -> None:
    found = evaluate_arrays(tiny[0], make_arrays(make_samples(count), tiny[1]), Trained(), tokenise=tiny[1], bootstrap=10)
    json.dumps(found, allow_nan=False)
    assert found["warnings"]
    assert all(figure["interval"] is None or "Clopper" in figure["method"] for _, figure in every_figure(found))
    table(found)


def test_notes_whose_silence_is_taken_for_health_are_warned_about(metrics: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(metrics))
    changed["grading"]["full_without_dr"]["heads"]["icdr"]["kappa"]["value"] = 0.07
    without_note = changed["grading"]["image+structured"]["heads"]["icdr"]["kappa"]
    without_note |= {"value": 0.50, "interval": [-0.1, 0.9]}
    assert not any("ICDR" in text and "silence for health" in text for text in warnings_of(changed))
    without_note["interval"] = [0.3, 0.7]
    assert any("silence for health" in text and "0.07" in text for text in warnings_of(changed))
    changed["grading"]["full_without_dr"]["heads"]["icdr"]["kappa"]["value"] = 0.52
    assert not any("ICDR" in text and "silence for health" in text for text in warnings_of(changed))


def test_a_run_without_calibration_is_judged_at_the_threshold_that_it_would_be_served_with(
    tiny: Tiny, arrays: StudyArrays
) -> None:
    trained = Trained(subsets=(frozenset({IMAGE}),), aligned=(), calibration={"other": SubsetCalibration()})
    found = evaluate_arrays(tiny[0], arrays, trained, tokenise=tiny[1], bootstrap=0)
    (point,) = found["grading"]["image"]["heads"]["icdr"]["referable"]["operating_points"]
    assert (point["threshold"], point["fitted"]) == (0.5, False)
    assert any("default 0.5" in text for text in found["warnings"])
