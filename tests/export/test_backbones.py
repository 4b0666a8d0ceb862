"""Backbones by family: each is built, frozen, trained for a step, exported and verified with random weights."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foveal_export.parity.budget import DEFAULTS
from foveal_export.pipeline import export_run
from foveal_export.planning import Request
from foveal_export.verify import verify
from foveal_runtime.bundle.manifest import Precision
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import ICDR, SCHEMES
from foveal_runtime.study.study import Modality
from foveal_train.model.backbones import create, family_of
from foveal_train.model.model import ModelInputs
from foveal_train.model.profile import ImageEncoderConfig, ModelConfig, profile
from foveal_train.model.weightfiles import match_state, read_state
from foveal_train.model.weights import build_model, rebuild_model
from foveal_train.runs.run import SPLIT_FILE, read_info, space_id, write_json, write_run
from foveal_train.training.objective import Batch, Objective
from foveal_train.training.recipe_file import load_recipe

FAST = [("test_vit", 64), ("test_convnext", 64)]
SLOW = [
    ("vit_tiny_patch16_224", 64),
    ("deit_tiny_distilled_patch16_224", 64),
    ("vit_small_patch14_reg4_dinov2", 56),  # DINOv2 with registers
    ("vit_small_patch16_dinov3", 64),  # no bias of query, key and value; rotary positions
    ("swin_tiny_patch4_window7_224", 64),
    ("test_resnet", 64),
    ("test_efficientnet", 64),
    ("efficientvit_b0", 64),
    ("efficientvit_m0", 224),
    ("mobilenetv3_small_050", 64),
]


class Quiet:
    """Hears nothing."""

    def stage(self, name: str) -> None: ...


def _config(backbone: str, side: int, *, weights: str = "random", frozen_blocks: int = 1) -> ModelConfig:
    tiny = profile("tiny")
    image = ImageEncoderConfig(backbone=backbone, weights=weights, frozen_blocks=frozen_blocks, dropout=0.0)
    return dataclasses.replace(tiny, image=image, image_spec=dataclasses.replace(tiny.image_spec, side_px=side))


def _step(config: ModelConfig, built: torch.nn.Module) -> None:
    """Learn from four photographs."""
    recipe = dataclasses.replace(load_recipe("tiny"), model=config, modalities=(Modality.IMAGE,))
    objective = Objective(built, recipe, (ICDR,), {}).train()  # type: ignore[arg-type]
    side = config.image_spec.side_px
    inputs = ModelInputs(present_BM=torch.tensor([[True, False, False]] * 4), pixels_BCHW=torch.randn(4, 3, side, side))
    labels = {head: torch.arange(4) for head in SCHEMES}
    optimiser = torch.optim.AdamW((p for p in objective.parameters() if p.requires_grad), lr=1e-3)
    objective(Batch(inputs=inputs, labels=labels, note_groups_B=torch.arange(4))).total.backward()
    optimiser.step()


@pytest.mark.parametrize(("backbone", "side"), [*FAST, *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW)])
def test_a_backbone_freezes_learns_and_is_exported(backbone: str, side: int, tiny_run: Path, tmp_path: Path) -> None:
    config = _config(backbone, side)
    built = build_model(config, seed=0)
    encoder = built.model.image
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    _step(config, built.model)
    after = encoder.state_dict()
    family = family_of(backbone)
    stem, first, *others = (
        {id(p) for part in unit for p in ([part] if isinstance(part, torch.nn.Parameter) else part.parameters())}
        for unit in (family.stem(encoder.backbone), *family.units(encoder.backbone))
    )
    moved = {id(p) for name, p in encoder.named_parameters() if not torch.equal(before[name], after[name])}
    assert not moved & (stem | first)
    assert all(moved & unit for unit in others)
    known = read_info(tiny_run)
    info = known.model_copy(
        update={
            "model": built.config,
            "trained_subsets": ("image",),
            "aligned": (),
            "space_id": space_id(built.model, built.config, known.features, built.tokenizer_json),
        }
    )
    run = tmp_path / "run"
    write_run(run, info, built.model.eval(), built.tokenizer_json)
    write_json(run / SPLIT_FILE, json.loads((tiny_run / SPLIT_FILE).read_text()))
    again = rebuild_model(info.model)
    again.load_state_dict(built.model.state_dict())
    request = Request(run=run, out=tmp_path / "bundle", precision=Precision.FP32, budget=DEFAULTS[Precision.FP32])
    bundle = export_run(request, Quiet()).bundle
    assert not verify(bundle, run, (), Quiet()).failures


@pytest.mark.parametrize(
    ("backbone", "why"),
    [
        ("maxvit_tiny_tf_224", "of a family that foveal does not read; it reads vision transformer"),
        ("vit_base_patch61", "did you"),
    ],
)
def test_a_backbone_that_is_not_read_is_refused_by_name(backbone: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"{backbone}.*{why}"):
        build_model(_config(backbone, 64), seed=0)


def test_an_efficientvit_is_no_vision_transformer() -> None:
    assert not family_of("efficientvit_b0").is_transformer
    assert family_of("vit_small_patch16_dinov3.lvd1689m").is_transformer
    assert not family_of("vit_small_patch16_dinov3").caches_frozen


def test_more_frozen_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="frozen_blocks is 99, the backbone has 6 blocks"):
        build_model(_config("test_vit", 64, frozen_blocks=99), seed=0)


def _state(backbone: str, side: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return create(backbone, side).state_dict()


def test_retfounds_checkpoint_is_read_at_another_resolution(tmp_path: Path) -> None:
    state = _state("test_vit", 160)
    decoder = {"decoder_pos_embed": torch.zeros(1, 5, 8), "mask_token": torch.zeros(1, 1, 8)}
    path = tmp_path / "RETFound_mae_natureCFP.pth"
    torch.save({"model": {**state, **decoder}, "args": argparse.Namespace(lr=1e-3), "epoch": 799}, path)
    built = build_model(_config("test_vit", 64, weights=str(path)), seed=0)
    own = built.model.image.backbone.state_dict()
    assert torch.equal(own["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    assert own["pos_embed"].shape != state["pos_embed"].shape


def test_flairs_image_tower_is_read(tmp_path: Path) -> None:
    state = _state("test_resnet", 64)
    path = tmp_path / "flair_resnet.pth"
    torch.save({**{f"vision_model.model.{k}": v for k, v in state.items()}, "text_model.x": torch.zeros(3)}, path)
    built = build_model(_config("test_resnet", 64, weights=str(path)), seed=0)
    assert torch.equal(built.model.image.backbone.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])


def test_tensors_are_taken_by_their_order_from_the_pinned_file_alone(tmp_path: Path) -> None:
    state = _state("test_vit", 64)
    path = tmp_path / "other.safetensors"
    save_file({f"{place:04d}": tensor for place, tensor in enumerate(state.values())}, path)
    with pytest.raises(ConfigError, match=r"other.safetensors does not fit the encoder: \d+ of \d+ tensors are missing"):
        build_model(_config("test_vit", 64, weights=str(path)), seed=0)
    model = build_model(_config("test_vit", 64), seed=1).model.image.backbone
    matched = match_state(read_state(path, "image"), model, "test", by_order=True)
    assert np.array_equal(matched["cls_token"], state["cls_token"])
