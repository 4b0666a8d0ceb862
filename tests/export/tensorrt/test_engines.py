"""TensorRT's own parser and builder: what they refuse is refused in their words with the node's name, the rest is built."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs.twins import Attend
from foveal_export.parity.budget import DEFAULTS
from foveal_export.pipeline import export_run
from foveal_export.planning import Request, engine_shapes
from foveal_export.result import Exported
from foveal_export.tensorrt import builder, engines, parser
from foveal_export.tensorrt.architectures import Architecture, parse_architectures
from foveal_export.tensorrt.typed import to_typed_half
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.engines import read_built
from foveal_runtime.bundle.manifest import Precision, ShapeRange, Target
from foveal_runtime.cli.inspect import describe, screen
from foveal_runtime.errors import BundleError, CheckFailed, ConfigError
from foveal_train.runs.run import Run

HERE = importlib.util.find_spec("tensorrt_rtx") is not None
needs_tensorrt = pytest.mark.skipif(not HERE, reason="tensorrt_rtx is not installed: pip install 'foveal[tensorrt]'")
ROWS = {"a": ShapeRange(min=(1, 4), opt=(8, 4), max=(32, 4))}


class Quiet:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""


def _model(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto, opset: int = 19) -> bytes:
    """Nodes from a float `a` [batch, 4] to `b`."""
    inputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 4])]
    outputs = [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()
    return made


def _const(name: str, values: object, kind: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def test_architectures_are_read_once_each_and_unknown_ones_refused() -> None:
    assert parse_architectures("sm86, SM120,sm86") == (Architecture.SM86, Architecture.SM120)
    assert parse_architectures("none") == ()
    with pytest.raises(ConfigError, match=r"'sm70'.*sm75"):
        parse_architectures("sm86,sm70")


def test_engines_of_another_target_and_engines_of_none_to_keep_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    request = Request(run=tiny_run, out=tmp_path / "b", precision=Precision.FP16, budget=DEFAULTS[Precision.FP16])
    with pytest.raises(ConfigError, match="--target tensorrt"):
        export_run(dataclasses.replace(request, engines=(Architecture.SM86,)), Quiet())
    with pytest.raises(ConfigError, match="--keep-engines"):
        export_run(dataclasses.replace(request, target=Target.TENSORRT, keep_engines=True), Quiet())


def test_missing_library_is_one_line_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(ConfigError, match=r"foveal\[tensorrt\].*--engines none"):
        parser.parse("image", b"")


@needs_tensorrt
def test_node_that_the_parser_does_not_know_is_refused_by_name() -> None:
    model = _model([helper.make_node("Relu", ["a"], ["x"], name="fine"), helper.make_node("Det", ["x"], ["b"], name="bad.one")])
    with pytest.raises(CheckFailed, match=r"refuses graph image: node 'bad\.one' \(Det\)"):
        parser.parse("image", model)


@needs_tensorrt
def test_floats_of_two_types_in_one_node_are_refused_by_name() -> None:
    cast = helper.make_node("Cast", ["a"], ["half"], name="narrow", to=TensorProto.FLOAT16)
    add = helper.make_node("Add", ["half", "one"], ["b"], name="untyped.add")
    with pytest.raises(CheckFailed, match=r"TensorRT.*untyped\.add.*type"):
        parser.parse("image", _model([cast, add], _const("one", [[1.0]], np.float32)))


@needs_tensorrt
@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, "a"),
        ({"a": ShapeRange(min=(1, 4), opt=(8, 5), max=(32, 6))}, "a"),
        ({"c": ShapeRange(min=(1, 4), opt=(8, 4), max=(32, 4))}, "'c'.*inputs a"),
    ],
    ids=["missing", "other width", "other input"],
)
def test_profile_that_does_not_fit_the_graph_is_refused(shapes: dict[str, ShapeRange], words: str) -> None:
    parsed = parser.parse("image", _model([helper.make_node("Relu", ["a"], ["b"], name="r")]))
    with pytest.raises(CheckFailed, match=words):
        builder.build(parsed, shapes, Architecture.SM86)


@needs_tensorrt
def test_network_lists_its_layers_and_types_and_gives_the_same_engine_each_time() -> None:
    cast = helper.make_node("Cast", ["a"], ["half"], name="narrow", to=TensorProto.FLOAT16)
    wide = helper.make_node("Cast", ["half"], ["b"], name="widen", to=TensorProto.FLOAT)
    parsed = parser.parse("image", _model([cast, wide]))
    assert parsed.layers["CAST"] == 2
    assert parsed.tensors == {"FLOAT": 1, "HALF": 1}
    engines = [builder.build(parsed, ROWS, Architecture.SM75).data for _ in range(2)]
    assert len(engines[0]) > 0
    assert engines[0] == engines[1]


@needs_tensorrt
def test_engines_of_a_graph_in_fp16_are_kept_with_their_hashes(
    tiny_run: Path, traced: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    run = Run.open(tiny_run)
    graph = to_typed_half(traced(run.model, run.info.model, "structured", Attend.PLAIN), ())
    onnx.save(graph, tmp_path / "structured.onnx")
    shapes = engine_shapes(["structured"], run.model, run.info.model)
    document = engines.build_all(
        {"structured": tmp_path / "structured.onnx"}, shapes, (Architecture.SM86, Architecture.SM120), keep=tmp_path
    )
    kept = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.engine")}
    assert kept.keys() == {"sm86/structured.engine", "sm120/structured.engine"}
    assert engines.hashes(document) == {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()}
    assert "HALF" in document["graphs"]["structured"]["tensors"]


@needs_tensorrt
@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8], ids=lambda p: p.value)
def test_tiny_bundle_is_parsed_and_built_and_its_engines_are_kept_with_their_hashes(
    tiny_run: Path, tmp_path: Path, precision: Precision
) -> None:
    out = tmp_path / f"built-{precision.value}"
    request = Request(
        run=tiny_run, out=out, precision=precision, budget=DEFAULTS[precision], target=Target.TENSORRT,
        engines=(Architecture.SM86, Architecture.SM120), keep_engines=True,
    )  # fmt: skip
    export_run(request, Quiet())
    bundle = Bundle.open(out)
    found = read_built(bundle)
    assert found is not None
    assert found.architectures == ("sm86", "sm120")
    assert found.graphs.keys() == bundle.manifest.graphs.keys()
    for name, graph in found.graphs.items():
        assert graph.layers, name
        assert "HALF" in graph.tensors, name
        assert ("INT8" in graph.tensors) == (precision is Precision.INT8 and name != "structured"), name
        for architecture, engine in graph.engines.items():
            kept = (out.with_name(out.name + ".engines") / architecture / f"{name}.engine").read_bytes()
            assert len(kept) == engine.bytes
            assert hashlib.sha256(kept).hexdigest() == engine.sha256 == bundle.manifest.engines[f"{architecture}/{name}.engine"]
            assert (engine.fp16_bytes is None) == (precision is Precision.FP16)
    shown = screen(describe(bundle))
    assert f"TensorRT {found.parser} parsed every graph" in shown
    assert "sm120" in shown


def test_damaged_account_of_engines_is_one_line(fp32: Exported, tmp_path: Path) -> None:
    out = shutil.copytree(fp32.bundle, tmp_path / "plain")
    # As if for TensorRT, whose own exports are slow tests: the account is read before any graph.
    manifest = json.loads((out / "manifest.json").read_text()) | {"target": "tensorrt", "checksum": ""}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert read_built(Bundle.open(out)) is None
    assert "TensorRT was not asked" in screen(describe(Bundle.open(out)))
    report = json.loads((out / "parity.json").read_text())
    (out / "parity.json").write_text(json.dumps(report | {"tensorrt": {"graphs": 3}}))
    manifest["files"]["parity.json"] = hashlib.sha256((out / "parity.json").read_bytes()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"parity\.json.*export the bundle again"):
        read_built(Bundle.open(out))
