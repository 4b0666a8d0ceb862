"""The graphs for TensorRT: every node listed, types explicit, INT8 around zero, and in ONNX Runtime they answer as PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs import observers
from foveal_export.graphs.twins import Attend
from foveal_export.quantise import int8
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_export.result import Exported
from foveal_export.tensorrt.operators import matrix, unsupported
from foveal_export.tensorrt.typed import overflowing, to_tensorrt, to_typed_half
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.engines import read_built
from foveal_runtime.bundle.manifest import Precision, Target
from foveal_runtime.cli.inspect import describe, screen
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.errors import CheckFailed
from foveal_train.runs.run import Run


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(precision, marks=pytest.mark.slow, id=precision.value) for precision in (Precision.FP16, Precision.INT8)
    ],
)
def exported(request: pytest.FixtureRequest, for_tensorrt: Callable[[Precision], Exported]) -> Exported:
    return for_tensorrt(request.param)


def _protos(exported: Exported) -> dict[str, onnx.ModelProto]:
    return {name: onnx.load(exported.bundle / graph.file) for name, graph in exported.manifest.graphs.items()}


def test_every_node_is_in_the_published_list(exported: Exported) -> None:
    assert "TensorRT 10" in matrix().source
    for name, proto in _protos(exported).items():
        assert unsupported(proto) == [], name


def test_bundle_answers_as_pytorch_does_on_a_cpu(exported: Exported) -> None:
    precision = exported.manifest.precision
    assert exported.manifest.target is Target.TENSORRT
    assert exported.report["passed"]
    assert exported.report["summary"]["min_cosine"] > (0.999 if precision is Precision.FP16 else 0.95)
    assert exported.report["neighbour_dependence"] <= 1e-4
    bundle = Bundle.open(exported.bundle)
    assert self_test(Engine(bundle, threads=1)).passed
    assert read_built(bundle) is None
    assert "TensorRT was not asked" in screen(describe(bundle))


def test_types_are_explicit_and_the_contract_is_kept(exported: Exported) -> None:
    for name, proto in _protos(exported).items():
        kinds = {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
        assert TensorProto.FLOAT16 not in kinds.values(), name
        assert {v.name for v in proto.graph.input} == {t.name for t in exported.manifest.graphs[name].inputs}
        ops = Counter(node.op_type for node in proto.graph.node)
        if exported.manifest.precision is Precision.INT8:
            assert name == "structured" or ops["QuantizeLinear"] > 0
            zeros = {n.input[2] for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
            tensors = {t.name: t for t in proto.graph.initializer}
            assert all(tensors[z].data_type == TensorProto.INT8 for z in zeros)
            assert not any(numpy_helper.to_array(tensors[z]).any() for z in zeros)
        narrow = (TensorProto.FLOAT16, TensorProto.INT8)
        weights = sum(np.prod(t.dims) for t in proto.graph.initializer if t.data_type in narrow)
        floats = sum(np.prod(t.dims) for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT)
        assert weights > 9 * floats, name


def test_sums_norms_and_softmax_stay_in_fp32(tiny_run: Path, traced: Callable[..., onnx.ModelProto]) -> None:
    run = Run.open(tiny_run)
    fusion = traced(run.model, run.info.model, "fusion", Attend.PLAIN)
    inferred = onnx.shape_inference.infer_shapes(to_typed_half(fusion, ()))
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    seen = Counter((node.op_type, kinds.get(node.output[0])) for node in inferred.graph.node)
    for op in ("LayerNormalization", "Softmax", "ReduceL2", "Div", "Clip"):
        assert seen[op, TensorProto.FLOAT] > 0, op
        assert seen[op, TensorProto.FLOAT16] == 0, op
    assert seen["MatMul", TensorProto.FLOAT16] > 0
    assert seen["MatMul", TensorProto.FLOAT] == 0


def _residual() -> onnx.ModelProto:
    """Two convolutions around a ReLU, a residual, and a convolution behind it."""
    rng = np.random.default_rng(0)
    node, shape = helper.make_node, ["batch", 4, 8, 8]
    weights = [numpy_helper.from_array(rng.normal(0, 0.3, (4, 4, 3, 3)).astype(np.float32), f"w{i}") for i in range(3)]
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="first/Conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r"], name="first.act/Relu"),
        node("Conv", ["r", "w1"], ["c1"], name="second/Conv", pads=[1, 1, 1, 1]),
        node("Add", ["c1", "r"], ["s"], name="second/Add"),
        node("Conv", ["s", "w2"], ["y"], name="third/Conv", pads=[1, 1, 1, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(proto)


def test_residual_is_added_to_its_convolution_with_nothing_between() -> None:
    proto = _residual()
    feeds = [{"x": np.random.default_rng(1).normal(0, 1, (1, 4, 8, 8)).astype(np.float32)}]
    seen = observers.observe(proto, int8.activations(proto), feeds)
    plan = GraphPlan(mode=Mode.STATIC, symmetric=True, ranges={name: one.minmax() for name, one in seen.items()})
    made = to_tensorrt(proto, plan, Precision.INT8)
    makers = {value: node for node in made.graph.node for value in node.output}
    add = next(node for node in made.graph.node if node.op_type == "Add")
    assert sorted(makers[value].op_type for value in add.input) == ["Conv", "DequantizeLinear"]
    for conv in (node for node in made.graph.node if node.op_type == "Conv"):
        assert [makers[value].op_type for value in conv.input[:2]] == ["DequantizeLinear"] * 2, conv.name
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert {kinds[node.output[0]] for node in made.graph.node if node.op_type == "DequantizeLinear"} == {TensorProto.FLOAT16}
    want, got = (observers.session(model).run(None, feeds[0])[0] for model in (proto, made))
    assert np.linalg.norm(got - want) < 0.03 * np.linalg.norm(want)


def test_scales_that_fp16_holds_clip_no_weight() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (5, 64)) * np.asarray([1e-6, 1e-5, 1e-3, 1.0, 0.0])[:, None]
    values, scale = int8.quantise_weight(weight.astype(np.float32), 0, reduce_range=False, half=True)
    assert (scale > 0).all()
    assert (scale.astype(np.float16).astype(np.float32) == scale).all()
    assert (np.abs(values * scale[:, None] - weight) <= scale[:, None] * 0.501).all()


def test_profiles_hold_every_call_that_the_engine_makes(exported: Exported) -> None:
    graphs = exported.manifest.graphs
    for name, graph in graphs.items():
        assert set(graph.shapes) == {tensor.name for tensor in graph.inputs}, name
        for shape in graph.shapes.values():
            assert all(a <= b <= c for a, b, c in zip(shape.min, shape.opt, shape.max, strict=True))
    calls: dict[str, list[tuple[int, ...]]] = {}
    engine = Engine(Bundle.open(exported.bundle), threads=1)
    for name, session in list(engine._sessions.items()):

        def call(feeds: dict[str, np.ndarray], session: object = session) -> object:
            for tensor, values in feeds.items():
                calls.setdefault(tensor, []).append(values.shape)
            return session(feeds)  # type: ignore[operator]

        call.one_at_a_time = session.one_at_a_time  # type: ignore[attr-defined]
        engine._sessions[name] = call  # type: ignore[assignment]
    assert self_test(engine).passed
    ranges = {tensor: shape for graph in graphs.values() for tensor, shape in graph.shapes.items()}
    for tensor, seen in calls.items():
        for sizes in seen:
            bounds = zip(ranges[tensor].min, sizes, ranges[tensor].max, strict=True)
            assert all(low <= size <= high for low, size, high in bounds), (tensor, sizes)


def _model(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto, opset: int = 18) -> onnx.ModelProto:
    a, b = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in ("a", "b"))
    graph = helper.make_graph(nodes, "g", [a], [b], list(weights))
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _const(name: str, values: object, kind: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def test_what_tensorrt_cannot_read_is_found() -> None:
    n = helper.make_node
    scale, zero, odd, u8 = (
        _const("s", 0.1, np.float32),
        _const("z", 0, np.int8),
        _const("o", 3, np.int8),
        _const("u", 0, np.uint8),
    )
    for zero_point, words in ((zero, ""), (odd, "zero point"), (u8, "zero point")):
        name = zero_point.name
        pair = [
            n("QuantizeLinear", ["a", "s", name], ["q"], name="q"),
            n("DequantizeLinear", ["q", "s", name], ["b"], name="d"),
        ]
        found = unsupported(_model(pair, scale, zero_point))
        assert any(words in line for line in found) if words else not found
    dynamic = [
        n("DynamicQuantizeLinear", ["a"], ["q", "s", "z"], name="q"),
        n("DequantizeLinear", ["q", "s", "z"], ["b"], name="d"),
    ]
    assert "not in the list" in unsupported(_model(dynamic))[0]
    assert not unsupported(_model([n("Relu", ["a"], ["b"], name="r")], opset=19))
    assert "opset 23" in unsupported(_model([n("Relu", ["a"], ["b"], name="r")], opset=23))[0]
    assert "com.microsoft" in "".join(unsupported(_model([n("Gelu", ["a"], ["b"], name="g", domain="com.microsoft")])))
    axes = [n("Shape", ["a"], ["x"], name="x"), n("ReduceSum", ["a", "x"], ["b"], name="sum", keepdims=1)]
    assert any("axes" in line for line in unsupported(_model(axes)))


def test_graph_with_a_refused_node_is_not_written() -> None:
    proto = _model([helper.make_node("Bernoulli", ["a"], ["b"], name="it")])
    with pytest.raises(CheckFailed, match=r"it \(Bernoulli\)"):
        to_tensorrt(proto, GraphPlan(mode=Mode.FLOAT), Precision.FP32)


def test_node_near_the_limit_of_fp16_stays_fp32() -> None:
    nodes = [
        helper.make_node("Mul", ["a", "big"], ["x"], name="grows"),
        helper.make_node("Mul", ["x", "small"], ["b"], name="ends"),
    ]
    proto = onnx.shape_inference.infer_shapes(_model(nodes, _const("big", 1e5, np.float32), _const("small", 1e-5, np.float32)))
    feeds = {"a": np.ones((2, 2), np.float32)}
    assert overflowing(proto, [feeds]) == ("grows", "ends")
    kept, lost = (to_typed_half(proto, keep) for keep in (("grows", "ends"), ()))
    assert np.allclose(observers.session(kept, threads=1).run(None, feeds)[0], 1, atol=1e-2)
    assert any(t.data_type == TensorProto.FLOAT for t in kept.graph.initializer)
    assert lost.graph.initializer[0].data_type == TensorProto.FLOAT16
