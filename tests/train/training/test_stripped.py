"""Notes without their DR sentences: what training is shown of them, and how evenly it draws the grades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from graded import make_arrays, make_samples

from foveal_runtime.study.labels import ICDR, MISSING, SCHEMES
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.model.weights import build_model
from foveal_train.training.arrays import NO_NOTE, StudyArrays
from foveal_train.training.objective import Batch, Objective
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.sampling import sampling_weights
from foveal_train.training.stripped import some_stripped, without_dr_sentences
from foveal_train.training.trainer import Studies, Trainer

DR, MORE = "Diabetic retinopathy is present.", "Drusen are present."


def _built(*overrides: str) -> tuple[Recipe, NoteTokeniser]:
    recipe = load_recipe("tiny", ("optimiser.epochs=2", "optimiser.batch_size=8", *overrides))
    built = build_model(recipe.model, seed=0)
    return recipe, NoteTokeniser(built.tokenizer_json, recipe.model.text_spec)


def _studies(tokenise: NoteTokeniser) -> StudyArrays:
    """Three kinds of notes in turn: DR and drusen, DR alone, drusen alone."""
    kinds = [(f"{DR} {MORE}", MORE), (DR, ""), (MORE, MORE)]
    samples: list[Sample] = [
        replace(sample, note=kinds[i % 3][0], note_without_dr=kinds[i % 3][1]) for i, sample in enumerate(make_samples(24))
    ]
    arrays: StudyArrays = make_arrays(samples, tokenise)
    return arrays


def test_a_chosen_study_shows_the_stripped_note_and_one_of_which_nothing_is_left_keeps_its_own() -> None:
    _, tokenise = _built()
    arrays = _studies(tokenise)
    alone = arrays.present_NM.copy()
    alone[1] = [False, True, False]  # a note that only names DR, and nothing else
    arrays = replace(arrays, present_NM=alone)
    stripped = without_dr_sentences(arrays, tokenise)
    assert stripped is not None
    shown = some_stripped(arrays, stripped, np.arange(24) < 12)
    text = shown.rows(Modality.TEXT)
    assert shown.note_groups_N[0] == arrays.note_groups_N[2]  # "Drusen are present." is one note, stripped or written so
    assert text[1], "its note was all that it had"
    assert shown.note_groups_N[1] == arrays.note_groups_N[1]
    assert not text[4], "nothing remains of the note, so the study shows photograph and record"
    assert text[12:].tolist() == arrays.rows(Modality.TEXT)[12:].tolist()
    assert shown.note_groups_N[12:].tolist() == arrays.note_groups_N[12:].tolist()


@pytest.mark.parametrize("asked", [True, False])
def test_a_photograph_that_never_had_a_note_is_a_negative_and_one_that_lost_it_is_none(asked: bool) -> None:
    recipe, tokenise = _built(
        f"losses.unpaired_are_negatives={str(asked).lower()}", "losses.image_structured=0", "modality_dropout=0"
    )
    arrays = _studies(tokenise)
    stripped = without_dr_sentences(arrays, tokenise)
    assert stripped is not None
    shown = some_stripped(arrays, stripped, np.arange(24) == 1)  # study 1 loses "Diabetic retinopathy is present."
    model = build_model(recipe.model, seed=0).model.eval()
    objective = Objective(model, recipe, (ICDR,), {}).eval()

    def image_text(present_NM: npt.NDArray[np.bool_], rows: list[int], groups_N: npt.NDArray[np.int64]) -> float:
        studies = replace(shown, present_NM=present_NM, note_groups_N=groups_N)
        labels = {head: torch.from_numpy(studies.labels[head][rows]) for head in SCHEMES}
        batch = Batch(inputs=studies.inputs(np.asarray(rows)), labels=labels, note_groups_B=torch.from_numpy(groups_N[rows]))
        with torch.no_grad():
            return float(objective(batch).parts["image_text"])

    alone = image_text(shown.present_NM, [0, 2, 4], shown.note_groups_N)
    assert not shown.present_NM[1, 1]
    assert image_text(shown.present_NM, [0, 2, 4, 1], shown.note_groups_N) == pytest.approx(alone, rel=1e-5)
    never = shown.note_groups_N.copy()
    never[1] = NO_NOTE
    with_it = image_text(shown.present_NM, [0, 2, 4, 1], never)
    assert with_it > alone + 1e-4 if asked else with_it == pytest.approx(alone, rel=1e-5)


def test_training_shows_about_the_asked_share_without_dr_sentences_and_others_each_epoch() -> None:
    recipe, tokenise = _built("strip_dr_notes=0.5", "modality_dropout=0")
    arrays = _studies(tokenise)
    stripped = without_dr_sentences(arrays, tokenise)
    assert stripped is not None
    model = build_model(recipe.model, seed=0).model
    shown: list[list[tuple[int, ...]]] = [[], []]
    encode = model.encode

    def watch(inputs: Batch) -> object:
        assert inputs.input_ids_BT is not None
        shown[len(shown[0]) >= 24].extend(tuple(ids[ids > 0].tolist()) for ids in inputs.input_ids_BT)
        return encode(inputs)

    model.encode = watch  # type: ignore[method-assign,assignment]
    Trainer(model, recipe, Studies(train=arrays, stripped=stripped), (ICDR,)).fit()
    both = tuple(arrays.notes[0].tolist())
    counts = [epoch.count(both) for epoch in shown]
    assert all(1 <= count <= 7 for count in counts), counts  # 8 studies name DR and drusen
    assert sorted(shown[0]) != sorted(shown[1])


def test_balanced_sampling_draws_all_grades_equally_often() -> None:
    labels = np.repeat([0, 1, 2, MISSING], [90, 6, 4, 20])
    weights = sampling_weights(labels, 1.0)
    assert weights is not None
    shares = [float(weights[labels == grade].sum() / weights[labels != MISSING].sum()) for grade in (0, 1, 2)]
    np.testing.assert_allclose(shares, 1 / 3)
    np.testing.assert_allclose(weights[labels == MISSING], float(weights[labels != MISSING].mean()))
    half = sampling_weights(labels, 0.5)
    assert half is not None
    assert 1 / 3 < float(half[labels == 0].sum() / half[labels != MISSING].sum()) < 0.9
    assert sampling_weights(labels, 0.0) is None


def test_an_epoch_of_balanced_sampling_shows_rare_grades_more_often() -> None:
    recipe, tokenise = _built("optimiser.balanced_sampling=1.0", "optimiser.epochs=4")
    arrays = _studies(tokenise)
    labels = np.zeros(24, np.int64)
    labels[:2] = 3
    arrays = replace(arrays, labels=dict.fromkeys(SCHEMES, labels))
    model = build_model(recipe.model, seed=0).model
    seen: list[int] = []
    rare = {arrays.features_NF[row].tobytes() for row in (0, 1)}
    encode = model.encode

    def watch(inputs: Batch) -> object:
        assert isinstance(inputs.features_BF, torch.Tensor)
        seen.extend(int(row.numpy().tobytes() in rare) for row in inputs.features_BF)
        return encode(inputs)

    model.encode = watch  # type: ignore[method-assign,assignment]
    Trainer(model, recipe, Studies(train=arrays), (ICDR,)).fit()
    assert len(seen) == 4 * 24
    assert 0.3 < sum(seen) / len(seen) < 0.7  # 2 of 24 studies, half of the draws
