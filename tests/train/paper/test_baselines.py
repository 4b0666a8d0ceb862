"""Baselines: CLIP from a local folder in the hub's layout, and the majority class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import save_tiny_clip

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR, SDRG
from foveal_runtime.study.record import FeatureStats
from foveal_train.data import Split
from foveal_train.paper import clip as clips
from foveal_train.paper import vision
from foveal_train.paper.baselines import baseline_row, majority_grade
from foveal_train.pipeline import train
from foveal_train.runs.samples import load_samples, split_samples
from foveal_train.training.arrays import load_arrays
from foveal_train.training.recipe import ClipConfig, Recipe
from foveal_train.training.recipe_file import load_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny CLIP."""
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def split(synth_spec: str) -> Split:
    """Forty generated patients."""
    return split_samples(load_samples([synth_spec]), load_recipe("paper/majority"))


def _recipe(name: str, folder: Path, *overrides: str) -> Recipe:
    return load_recipe(f"paper/{name}", (f"clip.weights={folder}", "optimiser.epochs=2", *overrides))


def test_the_majority_answers_the_commonest_training_grade(split: Split) -> None:
    row = baseline_row(load_recipe("paper/majority"), split, None)
    grade = majority_grade(split.train, ICDR)
    share = np.mean([sample.labels.icdr == grade for sample in split.test])
    assert row["grading"]["icdr"]["accuracy"]["value"] == pytest.approx(share)
    assert row["grading"]["icdr"]["kappa"]["value"] in (0.0, None)
    assert row["retrieval"]["independent"] is None


def test_clip_grades_by_prompts_and_retrieves_below_the_ceiling(folder: Path, split: Split) -> None:
    row = baseline_row(_recipe("clip-zero-shot", folder), split, split.validation)
    found = row["retrieval"]["independent"]
    for k in ("1", "5", "10"):
        assert found["recall"][k]["value"] <= found["ceiling"][k] + 1e-9
    assert found["queries"] == len(split.test)
    assert row["grading"]["sdrg"]["n"] == len(split.test)
    assert row["unseen"]["independent"]["gallery"] == len(split.validation)
    assert row["cost"]["trained"] == 0
    assert row["cost"]["ms"] > 0


def test_fine_tuning_moves_clip_and_keeps_the_best_epoch(folder: Path, split: Split) -> None:
    row = baseline_row(_recipe("clip-fine-tuned", folder), split, None)
    assert row["cost"]["trained"] == row["cost"]["parameters"] > 0
    assert row["notes"][0].startswith("kept epoch ")
    assert row["grading"]["icdr"]["n"] == len(split.test)


def test_clip_never_scales_its_logits_by_more_than_100(folder: Path, split: Split) -> None:
    recipe = _recipe("clip-fine-tuned", folder, "optimiser.learning_rate=0", "optimiser.epochs=1")
    clip = clips.load_clip(recipe.clip)
    clip.model.logit_scale.data.fill_(6.0)
    tokens = load_arrays(
        split.train, image_spec=clip.image_spec, tokenise=clip.tokenise, features=FeatureStats(), keep_empty_notes=True
    )
    clips.fine_tune(clip, recipe, tokens, tokens)
    assert float(clip.model.logit_scale.exp()) == pytest.approx(100, rel=1e-4)


def test_the_vision_only_row_is_a_plain_vision_transformer(split: Split) -> None:
    overrides = ("image.backbone=test_vit", "image.weights=random", "image.frozen_blocks=1", "image_spec.side_px=32")
    recipe = load_recipe("paper/vision-only", (*overrides, "optimiser.epochs=2"))
    row = baseline_row(recipe, split, None)
    model = vision.build(recipe, (ICDR, SDRG))
    assert row["cost"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"backbone", "heads"}
    assert 0 < row["cost"]["trained"] < row["cost"]["parameters"]
    assert row["grading"]["icdr"]["n"] == len(split.test)
    assert row["notes"][0] in {"kept epoch 1", "kept epoch 2"}
    assert row["retrieval"] == {"independent": None, "joint": None}


def test_clip_reads_notes_as_its_own_tokenizer_does(folder: Path) -> None:
    from transformers import CLIPTokenizerFast

    loaded = clips.load_clip(ClipConfig(weights=str(folder)))
    note = "Diabetic retinopathy is present."
    assert loaded.tokenise(note).ids_T.tolist() == CLIPTokenizerFast.from_pretrained(folder)(note)["input_ids"]
    assert loaded.image_spec.side_px == 32
    assert loaded.image_spec.mean[0] == pytest.approx(0.4815, abs=1e-3)


def test_a_note_has_one_vector_whatever_stands_beside_it(folder: Path) -> None:
    loaded = clips.load_clip(ClipConfig(weights=str(folder)))
    short, long = loaded.tokenise("Scar.").ids_T, loaded.tokenise("Diabetic retinopathy is present.").ids_T
    alone, padded = clips.embed_texts(loaded, [short])[0], clips.embed_texts(loaded, [short, long])[0]
    np.testing.assert_allclose(alone, padded, atol=1e-5)


def test_a_clip_that_can_not_be_had_names_the_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"clip\.weights=PATH"):
        clips.load_clip(ClipConfig(weights=str(tmp_path)))


def test_a_baseline_is_no_run(tmp_path: Path, synth_spec: str) -> None:
    with pytest.raises(ConfigError, match="foveal sweep"):
        train(load_recipe("paper/majority"), [synth_spec], tmp_path / "run")


def test_a_prompt_without_a_place_for_the_grade_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\{grade\}"):
        load_recipe("paper/clip-zero-shot", ("clip.prompt=a photograph",))


def test_a_training_split_of_one_grade_is_answered_with_that_grade(folder: Path, split: Split) -> None:
    one = replace(split, train=tuple(s for s in split.train if s.labels.icdr == 0 and s.labels.sdrg == 0))
    row = baseline_row(_recipe("clip-fine-tuned", folder, "optimiser.epochs=1"), one, None)
    share = np.mean([sample.labels.icdr == 0 for sample in split.test])
    assert row["grading"]["icdr"]["accuracy"]["value"] == pytest.approx(share)
