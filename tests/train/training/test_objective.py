"""Which studies of a batch are positives of each other, and in what arithmetic they are compared."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality
from foveal_train.model.weights import build_model
from foveal_train.training.losses import contrastive_loss
from foveal_train.training.objective import Objective
from foveal_train.training.recipe_file import load_recipe


@pytest.mark.parametrize("asked", [True, False])
def test_identical_records_are_positives_as_identical_notes_are(asked: bool) -> None:
    recipe = load_recipe("tiny", (f"losses.identical_records_are_positives={str(asked).lower()}", "modality_dropout=0"))
    objective = Objective(build_model(recipe.model, seed=0).model, recipe, (Head.ICDR,), {})
    notes, records = torch.arange(3), torch.tensor([7, 7, 8])
    groups = {
        name: objective._groups(pair, notes, records)
        for name, pair in (
            ("image_structured", {Modality.IMAGE, Modality.STRUCTURED}),
            ("image_text", {Modality.IMAGE, Modality.TEXT}),
        )
    }
    same = {name: bool((found[0] == found[1]).any()) for name, found in groups.items()}
    assert same == {"image_structured": asked, "image_text": False}


def test_similarity_is_multiplied_in_float32_under_autocast() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b, lone = (F.normalize(torch.randn(16, 64, generator=draw), dim=-1) for _ in range(3))

    def loss() -> float:
        found = contrastive_loss(a, b, torch.arange(16), temperature=0.07, lone_a_KD=lone)
        assert found is not None
        return found.item()

    exact = loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (a @ b.T).dtype is torch.bfloat16
        assert loss() == exact
