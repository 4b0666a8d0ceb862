"""`--variants`: a bundle with several files a graph, each within the budget, and what is refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from foveal_export.output import slow, varied
from foveal_export.parity.budget import DEFAULTS
from foveal_export.pipeline import export_run
from foveal_export.planning import Request
from foveal_export.quantise import saturation
from foveal_export.quantise.plan import ExportPlan
from foveal_export.result import Exported
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Cpu, Precision, Target, VariantName
from foveal_runtime.cli.inspect import describe, screen
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.processor import Feature, Level, Processor
from foveal_runtime.engine.providers import Provider
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.engine.variants import eligible, safe, served
from foveal_runtime.errors import CheckFailed, ConfigError

AVX2 = Processor(machine="x86_64", level=Level.V3, features=frozenset({Feature.AVX2}))
VNNI = Processor(machine="x86_64", level=Level.V3, features=frozenset({Feature.AVX2, Feature.AVX_VNNI}))


class Quiet:
    """A reporter that says nothing."""

    def stage(self, name: str) -> None:
        """Nothing."""


def _request(run: Path, out: Path, *names: VariantName, **changes: object) -> Request:
    known = {"precision": Precision.INT8, "budget": DEFAULTS[Precision.INT8]} | changes
    return Request(run=run, out=out, variants=names, **known)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def varied_int8(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    names = (VariantName.INT8, VariantName.INT8_REDUCED, VariantName.FP32, VariantName.FP16_TYPED)
    return export_run(_request(tiny_run, tmp_path_factory.mktemp("variants") / "bundle", *names), Quiet())


def test_every_graph_has_its_variants_and_each_holds_the_budget(varied_int8: Exported) -> None:
    bundle = Bundle.open(varied_int8.bundle)
    variants = bundle.manifest.variants
    assert set(variants["image"]) == {"int8", "fp32", "fp16-typed"}, "the bundle's own is INT8 reduced"
    assert set(variants["structured"]) == {"fp32", "fp16-typed"}, "it has no INT8: another file would be the same"
    for graph, there in variants.items():
        for name, each in there.items():
            assert each.parity["passed"], (graph, name)
            assert each.parity["min_cosine"] >= bundle.manifest.tolerances.min_cosine - 0.2
            assert each.for_gpu == (name == "fp16-typed")
    # The other graphs stay INT8: what is left of the image's own error may be less than their noise.
    assert variants["image"]["fp32"].parity["mean_cosine"] >= bundle.manifest.parity["mean_cosine"] - 1e-4
    assert varied_int8.report["variants"]["image"]["int8"]["bytes"] == variants["image"]["int8"].bytes


def test_int8_of_the_other_range_is_for_vnni_and_keeps_the_same_blocks(varied_int8: Exported) -> None:
    manifest = varied_int8.manifest
    assert manifest.runs_on is Cpu.ANY
    wide = manifest.variants["image"]["int8"]
    assert wide.cpu is Cpu.VNNI
    assert not saturation.is_safe(onnx.load(varied_int8.bundle / wide.file))
    assert "7-bit" not in wide.scheme
    assert wide.scheme.partition("floating point: ")[2] == manifest.graphs["image"].scheme.partition("floating point: ")[2]


def test_typed_fp16_computes_in_fp16(varied_int8: Exported) -> None:
    entry = varied_int8.manifest.variants["fusion"]["fp16-typed"]
    proto = onnx.load(varied_int8.bundle / entry.file)
    onnx.checker.check_model(proto, full_check=True)
    types = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    products = [node.output[0] for node in proto.graph.node if node.op_type in ("MatMul", "Gemm")]
    assert products
    assert {types[name] for name in products} == {TensorProto.FLOAT16}


def test_each_processor_serves_what_is_right_there(varied_int8: Exported) -> None:
    bundle = Bundle.open(varied_int8.bundle)
    assert safe(bundle, Provider.CPU, AVX2)["image"] == "int8-reduced"
    assert safe(bundle, Provider.CPU, VNNI)["image"] == "int8"
    assert safe(bundle, Provider.CUDA, AVX2) == dict.fromkeys(bundle.manifest.variants, "fp16-typed")
    for name, candidate in eligible(bundle, Provider.CPU, AVX2).items():
        assert self_test(Engine(candidate, threads=1)).passed, name
    on_gpu = served(bundle, Provider.CUDA, processor=AVX2)
    assert self_test(Engine(on_gpu, threads=1)).passed, "typed FP16, which the CPU provider widens"


def test_the_size_and_the_files_are_shown(varied_int8: Exported) -> None:
    assert "MB more than the bundle's own graphs" in varied(varied_int8.manifest)
    said = screen(describe(Bundle.open(varied_int8.bundle)))
    assert "image fp16-typed" in said
    assert "cpu serves here: " in said


@pytest.mark.parametrize(
    ("names", "changes", "says"),
    [
        ((VariantName.FP32,), {"target": Target.TENSORRT}, "--variants is for --target onnx"),
        ((VariantName.INT8,), {"precision": Precision.FP16}, "INT8 in a bundle that is not"),
        ((VariantName.INT8,), {"plan": ExportPlan(precision=Precision.INT8, space_id="", graphs={})}, "leave one of them out"),
    ],
)
def test_what_can_not_be_a_variant_is_refused(
    tiny_run: Path, tmp_path: Path, names: tuple[VariantName, ...], changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        export_run(_request(tiny_run, tmp_path / "bundle", *names, **changes), Quiet())
    assert not (tmp_path / "bundle").exists()


def test_a_variant_out_of_budget_is_refused_by_name(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foveal_export import variants

    monkeypatch.setattr(variants, "store_half", _shifted)
    with pytest.raises(CheckFailed, match=r"variant fp16 of graph text misses \d+ limits, nothing written:\n"):
        export_run(_request(tiny_run, tmp_path / "bundle", VariantName.FP16), Quiet())
    assert not (tmp_path / "bundle").exists()


def _shifted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of the same form whose weights are those of another model."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) >= 2:
            array = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array[::-1].copy(), tensor.name))
    return made


def test_int8_that_is_hardly_faster_than_fp32_is_warned_about() -> None:
    def report(ms: float, target: str = "onnx") -> dict[str, object]:
        rows = [("fp32", 30.0, {"image": 20.0, "fusion": 10.0}), ("int8", ms, {"image": ms - 4, "fusion": 4.0})]
        return {"target": target, "precisions": [{"name": n, "ms": m, "graphs_ms": g} for n, m, g in rows]}

    assert slow(report(20.0)) == []
    assert "1.25x as fast as FP32 on this processor (image 1.00x, fusion 2.50x)" in slow(report(24.0))[0]
    assert slow(report(24.0, "tensorrt")) == []
