"""Frozen blocks: no gradients, no dropout, and a cache of their outputs that changes nothing but the time."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from limits import files_of_at_most

from foveal_runtime.errors import ConfigError, DataError
from foveal_runtime.study.labels import ICDR, SCHEMES
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.evaluation import report
from foveal_train.model.model import ModelInputs, MultimodalModel
from foveal_train.model.weights import build_model
from foveal_train.pipeline import train
from foveal_train.training import frozen
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer

PLAIN = ("augmentation.horizontal_flip=false", "augmentation.vertical_flip=false", "augmentation.rotation_degrees=0",
         "augmentation.brightness=0", "augmentation.contrast=0")  # fmt: skip
VIT = ("image.backbone=test_vit", "image.frozen_blocks=4", "text.frozen_layers=1", "image_spec.side_px=32")
COUNT = 12


def _recipe(*overrides: str) -> Recipe:
    return load_recipe("tiny", (*VIT, *PLAIN, "optimiser.batch_size=6", "optimiser.epochs=2", *overrides))


def _model(recipe: Recipe) -> MultimodalModel:
    return build_model(recipe.model, seed=0).model


def _arrays(recipe: Recipe) -> StudyArrays:
    rng, side = np.random.default_rng(0), recipe.model.image_spec.side_px
    present = np.ones((COUNT, len(Modality)), bool)
    present[0, 0] = present[1, 1] = False
    lengths = 3 + np.arange(COUNT) % 4
    return StudyArrays(
        ids=tuple(str(i) for i in range(COUNT)),
        squares_NSSC=rng.integers(0, 256, (COUNT, side, side, 3), dtype=np.uint8),
        notes=tuple(np.asarray([101, *range(2000, 2000 + n), 102], np.int64) for n in lengths),
        features_NF=rng.normal(size=(COUNT, 6)).astype(np.float32),
        present_NM=present,
        labels={head: rng.integers(0, 5, COUNT).astype(np.int64) for head in SCHEMES},
        note_groups_N=lengths,
        image_spec=recipe.model.image_spec,
        samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(COUNT)),
    )


def test_no_gradient_is_recorded_in_frozen_blocks() -> None:
    model = _model(_recipe()).train()
    recorded: dict[str, bool] = {}

    def note(name: str) -> None:
        module = model.get_submodule(name)
        module.register_forward_hook(
            lambda _, __, out: recorded.update({name: (out[0] if isinstance(out, tuple) else out).requires_grad})
        )

    for name in (
        "image.backbone.blocks.3",
        "image.backbone.blocks.4",
        "text.bert.encoder.layer.0",
        "text.bert.encoder.layer.1",
    ):
        note(name)
    recipe = _recipe()
    model(_arrays(recipe).inputs(np.arange(2, 6)))
    assert list(recorded.values()) == [False, True, False, True]


def test_frozen_parts_stay_in_evaluation_mode_while_the_rest_trains() -> None:
    model = _model(_recipe()).train()
    assert not model.get_submodule("text.bert.encoder.layer.0").training
    assert not model.get_submodule("text.bert.embeddings").training
    assert not model.get_submodule("image.backbone.blocks.3").training
    assert model.get_submodule("text.bert.encoder.layer.1").training
    assert model.fusion.training
    assert not model.eval().fusion.training


def test_frozen_and_trained_parts_make_the_whole_encoder() -> None:
    recipe = _recipe()
    model = _model(recipe).eval()
    inputs = _arrays(recipe).inputs(np.arange(2, 8))
    assert inputs.pixels_BCHW is not None
    assert inputs.input_ids_BT is not None
    assert inputs.attention_mask_BT is not None
    with torch.no_grad():
        image = model.image.trained_part(model.image.frozen_part(inputs.pixels_BCHW))
        assert torch.equal(image, model.image(inputs.pixels_BCHW))
        mask = inputs.attention_mask_BT
        text = model.text.trained_part(model.text.frozen_part(inputs.input_ids_BT, mask), mask)
        whole = model.text(inputs.input_ids_BT, mask)
    kept = mask[:, : whole.shape[1]].bool()
    torch.testing.assert_close(text[kept], whole[kept])


def test_the_cache_changes_nothing_but_the_time(tmp_path: Path) -> None:
    recipe, cached = _recipe(), _recipe("optimiser.cache_frozen=true")
    arrays = _arrays(recipe)
    plain, quick = _model(recipe), _model(cached)
    passes: list[int] = []
    quick.get_submodule("image.backbone.blocks.0").register_forward_hook(lambda _, __, out: passes.append(out.shape[0]))
    first = Trainer(plain, recipe, Studies(train=arrays, validation=arrays), (ICDR,)).fit()
    second = Trainer(quick, cached, Studies(train=arrays, validation=arrays), (ICDR,), cache=tmp_path).fit()
    assert sum(passes) == 2 * (COUNT - 1)  # once for training, once for validation, whatever the epochs
    assert (tmp_path / "frozen-train.npy").is_file()
    for a, b in zip(first.history, second.history, strict=True):
        assert a["train"] == pytest.approx(b["train"], rel=1e-4)
        assert a["validation"] == pytest.approx(b["validation"], rel=1e-4)


def test_an_encoder_without_frozen_blocks_has_no_cache() -> None:
    recipe = load_recipe("tiny", (*PLAIN, "image_spec.side_px=32"))
    found = frozen.frozen_states(_model(recipe), _arrays(recipe), None)
    assert found.image_NTF is None
    assert found.text is None


def test_a_disk_without_room_for_the_cache_is_refused(tmp_path: Path) -> None:
    recipe = _recipe()
    with files_of_at_most(500), pytest.raises(DataError, match=r"without optimiser\.cache_frozen"):
        frozen.frozen_states(_model(recipe), _arrays(recipe), tmp_path / "states.npy")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_holds_the_notes_that_training_strips() -> None:
    recipe = _recipe()
    arrays = _arrays(recipe)
    stripped = replace(arrays, note_groups_N=arrays.note_groups_N + 100)
    found = frozen.frozen_states(_model(recipe), arrays, None, stripped=stripped)
    assert found.text is not None
    assert set(found.text) == {*arrays.note_groups_N.tolist(), *stripped.note_groups_N.tolist()}


def test_a_cache_under_augmentation_is_refused() -> None:
    with pytest.raises(ConfigError, match="switch augmentation off"):
        load_recipe("tiny", (*VIT, "optimiser.cache_frozen=true"))


def test_inputs_need_no_states() -> None:
    assert ModelInputs(present_BM=torch.ones(1, 3, dtype=torch.bool)).image_states_BTF is None


def test_a_run_leaves_curves_and_scalars(tmp_path: Path, few_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "curves", lambda *_: pytest.fail("the curves are drawn a second time"))
    recipe = _recipe("losses.weighting=uncertainty", "optimiser.cache_frozen=true", "optimiser.batch_size=16")
    run = train(recipe, [few_spec], tmp_path / "run", tensorboard=True)
    drawn = (run.path / "curves.svg").read_text()
    assert base64.b64encode(drawn.encode()).decode() in (run.path / "report.html").read_text()
    assert drawn.count('<g id="axes_') >= 6  # total, classification, three alignments, weights, rates
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    written = [point.value for point in events.Scalars("classification/train")]
    assert written == pytest.approx([row["train"]["classification"] for row in rows], rel=1e-5)
    assert {"weight/image_text", "learning rate/group 0", "loss/validation"} <= set(events.Tags()["scalars"])
    assert not (run.path / "cache").exists()
