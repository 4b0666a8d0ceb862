"""Any subset of modalities is a legal input, and what is absent or padded never reaches an answer."""

from functools import cache

import pytest
import torch

from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import ALL_SUBSETS, Modality, Subset, subset_name
from foveal_train.model.model import ModelInputs, MultimodalModel
from foveal_train.model.profile import profile
from foveal_train.model.weights import build_model

ORDER = list(Modality)


@cache
def tiny() -> MultimodalModel:
    return build_model(profile("tiny"), seed=0).model.eval()


def _inputs(rows: int, present: list[Subset], seed: int = 0) -> ModelInputs:
    generator = torch.Generator().manual_seed(seed)
    return ModelInputs(
        present_BM=torch.tensor([[m in subset for m in ORDER] for subset in present]),
        pixels_BCHW=torch.randn(rows, 3, 64, 64, generator=generator),
        input_ids_BT=torch.randint(1000, 2000, (rows, 9), generator=generator),
        attention_mask_BT=torch.ones(rows, 9, dtype=torch.long),
        features_BF=torch.randn(rows, 6, generator=generator),
    )


@pytest.mark.parametrize("subset", ALL_SUBSETS, ids=subset_name)
def test_every_subset_yields_a_finite_unit_embedding(subset: Subset) -> None:
    with torch.inference_mode():
        fused = tiny()(_inputs(2, [subset, subset]))
    assert torch.isfinite(fused.logits[ICDR]).all()
    assert torch.allclose(fused.joint_BD.norm(dim=-1), torch.ones(2), atol=1e-5)
    here = torch.tensor([1.0 if m in subset else 0.0 for m in ORDER])
    assert torch.allclose(fused.cls_BMD.norm(dim=-1), here.expand(2, -1), atol=1e-5)


def test_a_study_answers_the_same_alone_and_among_neighbours_of_other_subsets() -> None:
    inputs = _inputs(len(ALL_SUBSETS), list(ALL_SUBSETS))
    with torch.inference_mode():
        together = tiny()(inputs)
        for row in range(len(ALL_SUBSETS)):
            pick = slice(row, row + 1)
            alone = tiny()(
                ModelInputs(
                    present_BM=inputs.present_BM[pick],
                    pixels_BCHW=inputs.pixels_BCHW[pick],  # type: ignore[index]
                    input_ids_BT=inputs.input_ids_BT[pick],  # type: ignore[index]
                    attention_mask_BT=inputs.attention_mask_BT[pick],  # type: ignore[index]
                    features_BF=inputs.features_BF[pick],  # type: ignore[index]
                )
            )
            assert torch.allclose(alone.joint_BD[0], together.joint_BD[row], atol=1e-5)


def test_what_an_absent_modality_holds_does_not_matter() -> None:
    only_image: list[Subset] = [frozenset({Modality.IMAGE})] * 2
    one, other = _inputs(2, only_image, seed=1), _inputs(2, only_image, seed=2)
    same_image = ModelInputs(
        present_BM=one.present_BM,
        pixels_BCHW=one.pixels_BCHW,
        input_ids_BT=other.input_ids_BT,
        attention_mask_BT=other.attention_mask_BT,
        features_BF=other.features_BF,
    )
    with torch.inference_mode():
        assert torch.equal(tiny()(one).joint_BD, tiny()(same_image).joint_BD)


def test_padding_a_note_does_not_change_its_embedding() -> None:
    short = _inputs(1, [frozenset({Modality.TEXT})])
    assert short.input_ids_BT is not None
    assert short.attention_mask_BT is not None
    padding = torch.zeros(1, 30, dtype=torch.long)
    padded = ModelInputs(
        present_BM=short.present_BM,
        input_ids_BT=torch.cat([short.input_ids_BT, padding], 1),
        attention_mask_BT=torch.cat([short.attention_mask_BT, padding], 1),
    )
    with torch.inference_mode():
        assert torch.allclose(tiny()(short).joint_BD, tiny()(padded).joint_BD, atol=1e-5)


def test_a_pass_alone_equals_the_joint_pass_of_a_study_with_that_modality_only() -> None:
    everything: list[Subset] = [frozenset(Modality)] * 2
    inputs = _inputs(2, everything)
    with torch.inference_mode():
        encoded = tiny().encode(inputs)
        for column, modality in enumerate(ORDER):
            alone = tiny().alone(encoded, inputs.present_BM[:, column], modality)
            only = torch.zeros_like(inputs.present_BM)
            only[:, column] = True
            joint = tiny().fuse(encoded, only)
            assert torch.allclose(alone.cls_BMD[:, column], joint.cls_BMD[:, column], atol=1e-5)
            assert torch.allclose(alone.logits[ICDR], joint.logits[ICDR], atol=1e-4)


def test_the_base_profile_freezes_the_first_ten_blocks_and_layers() -> None:
    base = profile("base")
    from dataclasses import replace

    random = replace(base, image=replace(base.image, weights="random"), text=replace(base.text, weights="random"))
    model = build_model(random, seed=0).model
    blocks = model.image.backbone.blocks
    layers = model.text.bert.encoder.layer  # type: ignore[union-attr]
    frozen = lambda module: not any(p.requires_grad for p in module.parameters())  # noqa: E731
    assert [frozen(block) for block in blocks] == [True] * 10 + [False] * 2  # type: ignore[union-attr, arg-type]
    assert [frozen(layer) for layer in layers] == [True] * 10 + [False] * 2  # type: ignore[union-attr, arg-type]
    tokens = model.image.eval()(torch.zeros(1, 3, 224, 224))
    assert tokens.shape == (1, 197, 256)
