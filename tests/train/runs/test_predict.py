"""Many passes over the same studies, photographs encoded once, against one pass at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from graded import make_arrays, make_samples

from foveal_runtime.study.labels import ICDR, SCHEMES
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import ALL_SUBSETS
from foveal_train.model.model import MultimodalModel
from foveal_train.model.profile import profile
from foveal_train.model.weights import build_model
from foveal_train.runs.predict import Predictions, Showing, predict, predict_each
from foveal_train.training.arrays import StudyArrays, with_notes


@pytest.fixture(scope="module")
def tiny() -> tuple[MultimodalModel, StudyArrays, Callable[[list[str]], StudyArrays]]:
    built = build_model(profile("tiny"), seed=0)
    tokenise = NoteTokeniser(built.tokenizer_json, built.config.text_spec)
    arrays = make_arrays(make_samples(20), tokenise)
    return built.model.eval(), arrays, lambda notes: with_notes(arrays, notes, tokenise)


def assert_same(one: Predictions, other: Predictions) -> None:
    np.testing.assert_array_equal(one.rows, other.rows)
    for head in SCHEMES:
        np.testing.assert_allclose(one.logits[head], other.logits[head], atol=2e-5)
    np.testing.assert_allclose(one.joint_ND, other.joint_ND, atol=1e-5)
    np.testing.assert_allclose(one.cls_NMD, other.cls_NMD, atol=1e-5)


def test_each_showing_equals_a_pass_of_its_own(
    tiny: tuple[MultimodalModel, StudyArrays, Callable[[list[str]], StudyArrays]],
) -> None:
    model, arrays, renoted = tiny
    other = renoted([sample.note_without_dr for sample in arrays.samples])
    showings = [Showing(present_NM=arrays.showing(subset)) for subset in ALL_SUBSETS]
    showings += [Showing(present_NM=arrays.present_NM), Showing(present_NM=other.present_NM, notes=other)]
    seen: list[tuple[int, int]] = []
    found = predict_each(model, arrays, showings, batch_size=8, progress=lambda done, total: seen.append((done, total)))
    for subset, one in zip(ALL_SUBSETS, found, strict=False):
        assert_same(one, predict(model, arrays, subset=subset, batch_size=8))
    assert_same(found[-2], predict(model, arrays))
    assert_same(found[-1], predict(model, other))
    assert seen[-1] == (20, 20)


def test_photographs_are_encoded_once_however_often_they_are_shown(
    tiny: tuple[MultimodalModel, StudyArrays, Callable[[list[str]], StudyArrays]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, arrays, _ = tiny
    rows: list[int] = []
    forward = model.image.forward

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        rows.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(model.image, "forward", counted)
    predict_each(model, arrays, [Showing(present_NM=arrays.showing(subset)) for subset in ALL_SUBSETS])
    assert sum(rows) == len(arrays)


def test_nothing_shown_gives_empty_predictions(
    tiny: tuple[MultimodalModel, StudyArrays, Callable[[list[str]], StudyArrays]],
) -> None:
    model, arrays, _ = tiny
    nothing = Showing(present_NM=np.zeros_like(arrays.present_NM))
    found = predict_each(model, arrays, [nothing, Showing(present_NM=arrays.present_NM)])
    assert found[0].rows.size == 0
    assert found[0].logits[ICDR].shape == (0, 5)
    assert found[1].rows.size == len(arrays)
    assert predict_each(model, arrays, []) == []
