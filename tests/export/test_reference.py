"""The PyTorch reference path, which every artefact is compared with."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.study.labels import ICDR, SCHEMES
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import ALL_SUBSETS, Eye, Modality, Record, Sex, Study, subset_name
from foveal_train.model.profile import profile
from foveal_train.model.weights import build_model
from foveal_train.runs.reference import ALL_KINDS, Reference
from foveal_train.runs.run import RunInfo


@pytest.fixture(scope="module")
def reference() -> Reference:
    built = build_model(profile("tiny"), seed=0)
    info = RunInfo(
        foveal_version="0",
        recipe={},
        model=built.config,
        data=(),
        seed=0,
        features=FeatureStats(),
        trained_heads=SCHEMES,
        trained_subsets=tuple(subset_name(s) for s in ALL_SUBSETS),
        space_id="",
    )
    return Reference(built.model, built.tokenizer_json, info)


def _studies() -> list[Study]:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    whole = Study(
        id="s",
        image=buffer.getvalue(),
        note="Increased cup to disc ratio is present. " * 3,
        record=Record(age_years=61, sex=Sex.FEMALE, eye=Eye.LEFT),
    )
    return [whole.only(subset) for subset in ALL_SUBSETS]


def test_answer_does_not_depend_on_its_neighbours(reference: Reference) -> None:
    studies = _studies()
    together = reference.run(studies, batch=16)
    for row, study in enumerate(studies):
        alone = reference.run([study])
        np.testing.assert_allclose(together.joint_ND[row], alone.joint_ND[0], atol=1e-5)
        np.testing.assert_allclose(together.alone_NMD[row], alone.alone_NMD[0], atol=1e-5)
        np.testing.assert_allclose(together.logits[ICDR][row], alone.logits[ICDR][0], atol=1e-5)


def test_vectors_of_absent_modalities_are_zero_and_others_unit(reference: Reference) -> None:
    outputs = reference.run(_studies())
    for row, subset in enumerate(outputs.subsets):
        expected = [1.0 if modality in subset else 0.0 for modality in Modality]
        np.testing.assert_allclose(np.linalg.norm(outputs.alone_NMD[row], axis=-1), expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(outputs.cls_NMD[row], axis=-1), expected, atol=1e-5)
    assert outputs.subsets == ALL_SUBSETS


def test_single_modality_study_needs_no_second_pass(reference: Reference) -> None:
    outputs = reference.run([study for study in _studies() if len(study.modalities) == 1])
    np.testing.assert_allclose(outputs.alone_NMD, outputs.cls_NMD, atol=1e-6)


def test_passes_that_were_not_asked_for_are_not_run(reference: Reference) -> None:
    outputs = reference.run(_studies(), frozenset({VectorKind.JOINT}))
    assert not outputs.alone_NMD.any()
    assert reference.run([], ALL_KINDS).joint_ND.shape == (0, 256)


def test_padding_notes_to_a_fixed_length_changes_nothing(reference: Reference) -> None:
    built = reference.inputs([reference.prepare(_studies()[1])])
    assert built.input_ids_BT is not None
    length = int(built.input_ids_BT.shape[1])
    padded = torch.nn.functional.pad(built.input_ids_BT, (0, 128 - length))
    mask = torch.nn.functional.pad(torch.ones_like(built.input_ids_BT), (0, 128 - length))
    with torch.inference_mode():
        short = reference.model.text(built.input_ids_BT, torch.ones_like(built.input_ids_BT))
        long = reference.model.text(padded, mask)
    torch.testing.assert_close(long[:, : short.shape[1]], short, atol=1e-5, rtol=0)
