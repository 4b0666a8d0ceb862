"""`foveal export --hf`: a plain BERT or ViT in the hub's layout becomes a verified bundle of embeddings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from commands import foveal, one_line
from hubfolders import SIDE_PX, change, write_bert, write_vit
from servers import RunningServer
from transformers import AutoModel

from foveal_export.graphs import observers
from foveal_export.parity.budget import DEFAULTS
from foveal_export.pipeline import export_run
from foveal_export.planning import Request
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Precision
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.study import Study
from foveal_train.data.synthetic.writer import synthesise
from foveal_train.runs.hubfolder import open_hub_folder
from foveal_train.runs.reference import Reference


class Quiet:
    def stage(self, name: str) -> None:
        pass


def export(folder: Path, out: Path, precision: Precision = Precision.FP32, **changes: object) -> Bundle:
    asked = {"budget": DEFAULTS[precision], **changes}
    request = Request(run=folder, out=out, precision=precision, hub_folder=True, **asked)  # type: ignore[arg-type]
    export_run(request, Quiet())
    return Bundle.open(out)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("hub") / "bert", pooling="mean_tokens")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vit(tmp_path_factory.mktemp("hub") / "vit")


@pytest.fixture(scope="module")
def bert_bundle(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(bert, tmp_path_factory.mktemp("bundles") / "bert")


def test_a_bert_embeds_notes_as_transformers_does(bert: Path, bert_bundle: Bundle) -> None:
    manifest = bert_bundle.manifest
    assert manifest.embedding_dim == 48
    assert manifest.trained_subsets == ("text",)
    assert manifest.trained_heads == ()
    engine = Engine(bert_bundle, threads=1)
    assert self_test(engine).passed
    notes = ["Optic disc with sharp margins.", "drusen", "normal vessels of the retina, macula edema, diabetic retinopathy"]
    prepared = [engine.prepare(Study(note=note)) for note in notes]
    kinds = frozenset({VectorKind.JOINT, VectorKind.TEXT})
    model = AutoModel.from_pretrained(bert, add_pooling_layer=False)
    for item, outcome in zip(prepared, engine.run(prepared, kinds=kinds, grade=False), strict=True):
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(item.ids_T)[None]).last_hidden_state[0].mean(0).numpy()
        for kind in kinds:
            np.testing.assert_allclose(outcome.vectors[kind], states / np.linalg.norm(states), atol=1e-5)


@pytest.mark.slow
def test_a_vit_embeds_photographs_as_transformers_does(
    vit: Path, tmp_path: Path, traced: Callable[..., onnx.ModelProto]
) -> None:
    bundle = export(vit, tmp_path / "vit")
    assert bundle.manifest.trained_subsets == ("image",)
    assert bundle.manifest.image.side_px == SIDE_PX
    assert self_test(Engine(bundle, threads=1)).passed
    run = open_hub_folder(vit)
    pixels = torch.randn(3, 3, SIDE_PX, SIDE_PX)
    got = observers.session(traced(run.model, run.info.model, "image"), threads=1).run(None, {"pixels_BCHW": pixels.numpy()})
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(vit, add_pooling_layer=False)(pixel_values=pixels).last_hidden_state[:, :1]
    np.testing.assert_allclose(got[0], expected.numpy(), atol=1e-5)


def test_no_notes_have_no_vectors_of_its_width(bert: Path) -> None:
    run = open_hub_folder(bert)
    outputs = Reference(run.model, run.tokenizer_json, run.info).run([])
    assert outputs.joint_ND.shape == (0, 48)
    assert {head: logits.shape for head, logits in outputs.logits.items()} == {"icdr": (0, 5), "sdrg": (0, 5)}


def test_int8_without_data_to_calibrate_on_is_refused(vit: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give some with --data"):
        export(vit, tmp_path / "int8", Precision.INT8)


@pytest.mark.slow
def test_int8_is_calibrated_on_data_that_is_named(vit: Path, tmp_path: Path) -> None:
    made = synthesise(tmp_path / "data", patients=20, seed=1, side_px=64)
    # Whether weights that nobody trained hold INT8's budget is chance.
    wide = dataclasses.replace(DEFAULTS[Precision.INT8], min_cosine=0.5, golden_cosine=0.5, neighbour_overlap=0.0, max_abs=1.0)
    bundle = export(vit, tmp_path / "int8", Precision.INT8, data=(f"brset:{made}",), budget=wide)
    assert bundle.manifest.graphs["image"].scheme.startswith("int8")
    assert bundle.manifest.graphs["fusion"].bytes < 10_000, "nothing to quantise"


def test_a_server_embeds_with_such_a_bundle_and_refuses_to_grade(bert_bundle: Bundle, tmp_path: Path) -> None:
    with RunningServer(bert_bundle.path) as server:
        done = foveal("embed", "--note", "optic disc", "--address", server.address, "--json")
        assert done.returncode == 0, done.stderr
        (answer,) = json.loads(done.stdout)
        assert len(answer["vectors"]["joint"]) == 48
        refused = foveal("grade", "examples/photographs/grade-0.jpg", "--address", server.address)
        assert refused.returncode != 0


def test_the_space_is_that_of_the_weights_and_the_card_claims_no_training(
    bert: Path, bert_bundle: Bundle, tmp_path: Path
) -> None:
    space = bert_bundle.manifest.space_id
    assert open_hub_folder(bert).info.space_id == space
    assert open_hub_folder(write_bert(tmp_path / "other", pooling="mean_tokens", seed=1)).info.space_id != space
    assert open_hub_folder(write_bert(tmp_path / "cls")).info.space_id != space
    card = bert_bundle.read("MODEL_CARD.md").decode()
    assert "grades nothing" in card
    assert str(bert.parent) not in card


@pytest.mark.parametrize(
    ("kind", "file", "values", "says"),
    [
        ("bert", "config.json", {"model_type": "roberta"}, "roberta model; bert and vit"),
        ("bert", "config.json", {"is_decoder": True}, "is_decoder True"),
        ("bert", "1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max_tokens, mean_tokens"),
        ("vit", "config.json", {"num_channels": 1}, "can't be loaded|num_channels 1"),
        ("vit", "preprocessor_config.json", {"do_center_crop": True}, "do_center_crop True"),
        ("vit", "preprocessor_config.json", {"size": {"shortest_edge": 32}}, "square of 32"),
        ("vit", "preprocessor_config.json", {"rescale_factor": 1.0}, "rescale_factor"),
        ("vit", "preprocessor_config.json", {"image_mean": [0.5]}, "image_mean"),
    ],
)
def test_what_foveal_would_do_otherwise_is_refused_by_name(
    kind: str, file: str, values: dict[str, object], says: str, tmp_path: Path
) -> None:
    folder = write_bert(tmp_path / "bert", pooling="mean_tokens") if kind == "bert" else write_vit(tmp_path / "vit")
    with pytest.raises(ConfigError, match=says):
        open_hub_folder(change(folder, file, **values))


def test_a_folder_without_weights_or_description_is_refused(tmp_path: Path) -> None:
    done = foveal("export", "--hf", str(tmp_path), "--precision", "fp32")
    assert done.returncode == 2
    assert "config.json is missing" in one_line(done.stderr.splitlines()[-1] + "\n")
    bare = write_vit(tmp_path / "vit")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json is missing"):
        open_hub_folder(bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds none of"):
        open_hub_folder(bare)


def test_a_run_and_a_folder_are_not_exported_at_once(bert: Path, tmp_path: Path) -> None:
    done = foveal("export", str(tmp_path), "--hf", str(bert), "--precision", "fp32")
    assert done.returncode == 2
    assert "one at a time" in one_line(done.stderr)
