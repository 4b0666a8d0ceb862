"""Which studies of a batch are positives of each other, and in what arithmetic they are compared."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.labels import ICDR, MISSING, SDRG
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.model.fusion import Fused
from foveal_train.model.weights import build_model
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.batch import make_batch
from foveal_train.training.feeder import fed, raw_batch
from foveal_train.training.losses import contrastive_loss
from foveal_train.training.objective import LOSSES, Objective, _Graded
from foveal_train.training.recipe_file import load_recipe


@pytest.mark.parametrize("asked", [True, False])
def test_identical_records_are_positives_as_identical_notes_are(asked: bool) -> None:
    recipe = load_recipe("tiny", (f"losses.identical_records_are_positives={str(asked).lower()}", "modality_dropout=0"))
    objective = Objective(build_model(recipe.model, seed=0).model, recipe, (ICDR,), {})
    notes, records = np.arange(3), np.asarray([7, 7, 8])
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


class Asked(Exception):
    """The device was asked for a number."""


class NothingAsked(TorchDispatchMode):
    """Refuses what makes a host wait for its device: a number, or how many rows a mask lets through."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put", "_index_put_impl_") and any(
            each is not None and each.dtype is torch.bool for each in args[1]
        )
        # transformers itself asks once whether a batch's notes are padded at all.
        theirs = any("/transformers/" in frame.filename for frame in traceback.extract_stack())
        if (name in self.waits or masked) and not theirs:
            raise Asked(name)
        return func(*args, **(kwargs or {}))


def _studies(count: int) -> StudyArrays:
    """Studies of which some lack a photograph, a note or a record, some have the same note, and some no grade."""
    rng = np.random.default_rng(0)
    present = np.ones((count, len(Modality)), bool)
    present[1, 0] = present[2, 1] = present[3, 2] = False
    labels = rng.integers(0, 5, count)
    labels[4] = MISSING
    return StudyArrays(
        ids=tuple(map(str, range(count))),
        squares_NSSC=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        notes=tuple(np.asarray([101, 2000 + i % 3, 102], np.int64) for i in range(count)),
        features_NF=rng.normal(size=(count, 6)).astype(np.float32),
        present_NM=present,
        labels={ICDR: labels, SDRG: np.full(count, MISSING, np.int64)},
        note_groups_N=np.arange(count) % 3,
        image_spec=ImageSpec(side_px=32),
        samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(count)),
    )


@pytest.mark.parametrize("alignment", ["independent", "joint"])
def test_a_step_asks_its_device_for_no_number(alignment: str) -> None:
    recipe = load_recipe(
        "tiny",
        ("image_spec.side_px=32", f"alignment={alignment}", "losses.weighting=softmax", "losses.unpaired_are_negatives=true",
         "losses.image_reconstruction=1", "losses.text_reconstruction=1", "decoders.image_channels=16",
         "decoders.text_layers=1"),
    )  # fmt: skip
    arrays = _studies(8)
    objective = Objective(build_model(recipe.model, seed=0).model, recipe, (ICDR,), {}).train()
    batch = make_batch(raw_batch(arrays, np.arange(8)), arrays, recipe, torch.device("cpu"), training=True)
    with NothingAsked():
        losses = objective(batch)
        losses.total.backward()
    assert tuple(losses.parts) == LOSSES
    with NothingAsked(), pytest.raises(Asked):
        _ = bool(losses.total > 0)


@pytest.mark.parametrize(("alone", "passes"), [(True, 1), (False, 2)])
def test_photographs_alone_are_fused_once(alone: bool, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("tiny", ("image_spec.side_px=32", "alignment=joint", "modality_dropout=0.5"))
    arrays = _studies(8)
    if alone:
        arrays.present_NM[:] = [True, False, False]
    objective = Objective(build_model(recipe.model, seed=0).model, recipe, (ICDR,), {}).train()
    batch = make_batch(raw_batch(arrays, np.arange(8)), arrays, recipe, torch.device("cpu"), training=True)
    made = []
    fuse = objective.model.fuse
    monkeypatch.setattr(objective.model, "fuse", lambda *args: made.append(1) or fuse(*args))
    objective(batch)
    assert len(made) == passes


def test_batches_prepared_ahead_are_those_that_are_asked_for_in_their_order() -> None:
    arrays = _studies(12)
    rows = [np.arange(start, start + 3) for start in (0, 6, 3, 9)]
    found = list(fed(arrays, iter(rows), pin=False))
    assert [batch.rows.tolist() for batch in found] == [each.tolist() for each in rows]
    inputs = arrays.inputs(rows[1])
    recipe = load_recipe("tiny", ("image_spec.side_px=32",))
    ours = make_batch(found[1], arrays, recipe, torch.device("cpu"), training=False).inputs
    for name in ("present_BM", "pixels_BCHW", "input_ids_BT", "attention_mask_BT", "features_BF"):
        assert torch.equal(getattr(ours, name), getattr(inputs, name)), name
    assert found[1].squares_BSSC is not None
    assert found[1].squares_BSSC.dtype is torch.uint8


def test_a_batch_that_can_not_be_prepared_stops_the_epoch() -> None:
    arrays = _studies(6)
    with pytest.raises(IndexError):
        list(fed(arrays, [np.asarray([0, 1]), np.asarray([99])], pin=False))


def test_further_heads_weigh_as_much_together_as_the_recipe_says_however_many_they_are() -> None:
    recipe = load_recipe("tiny", ("heads=icdr,sdrg,edema,drusen,scar", "losses.other_heads=0.25"))
    classes = {head.name: len(head.classes) or 2 for head in recipe.model.heads}
    generator = torch.Generator().manual_seed(0)
    logits = {head: torch.randn(6, count, generator=generator) for head, count in classes.items()}
    labels = {head: torch.randint(0, count, (6,), generator=generator) for head, count in classes.items()}
    labels["scar"][:] = MISSING

    def loss(*heads: str) -> float:
        objective = Objective.__new__(Objective)
        torch.nn.Module.__init__(objective)
        objective.heads, objective.class_weights, objective.config = heads, {}, recipe.losses
        fused = Fused(joint_BD=torch.zeros(6, 4), cls_BMD=torch.zeros(6, 3, 4), logits=logits)
        found = objective._classification([_Graded(fused)], labels)
        return float(found["classification"]) if found else 0.0

    each = {head: loss(head) for head in classes}
    assert loss("icdr", "sdrg") == pytest.approx((each["icdr"] + each["sdrg"]) / 2)
    assert loss("edema", "drusen") == pytest.approx((each["edema"] + each["drusen"]) / 2), "alone they are all there is"
    others = (each["edema"] + each["drusen"]) / 2
    assert loss(*classes) == pytest.approx((each["icdr"] + each["sdrg"]) / 2 + 0.25 * others)
    assert loss("scar") == 0.0
