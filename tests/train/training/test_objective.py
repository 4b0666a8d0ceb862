"""Which studies of a batch are positives of each other, and in what arithmetic they are compared."""

from __future__ import annotations

import pytest
import torch

from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Modality
from foveal_train.model.weights import build_model
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
