"""16-bit sums of INT8 products: what a graph's weights prove, what is simulated, and that the kernels do just that."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from emulation import on_avx2
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs import observers
from foveal_export.parity import report
from foveal_export.quantise import int8, saturation
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_runtime.bundle.manifest import Cpu


def _layer(inner: int = 64, columns: int = 16, *, transposed: bool = False) -> onnx.ModelProto:
    """One layer; Gemm with its weights transposed, or MatMul."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (inner, columns)).astype(np.float32)
    weight[: inner // 2] = np.abs(weight[: inner // 2]) + 1
    node = (
        helper.make_node("Gemm", ["x", "w"], ["y"], name="up/Gemm", transB=1)
        if transposed
        else helper.make_node("MatMul", ["x", "w"], ["y"], name="up/MatMul")
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inner])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", columns])],
        [numpy_helper.from_array(np.ascontiguousarray(weight.T) if transposed else weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _feeds(inner: int = 64) -> list[observers.Feeds]:
    rng = np.random.default_rng(1)
    return [{"x": rng.uniform(3, 6, (5, inner)).astype(np.float32)} for _ in range(4)]


def _quantised(proto: onnx.ModelProto, mode: Mode, *, reduce_range: bool) -> onnx.ModelProto:
    return int8.to_int8(proto, GraphPlan(mode=mode, reduce_range=reduce_range, ranges={"x": (0.0, 6.0)}))


def test_kernels_do_what_is_simulated_and_depthwise_ones_saturate_nothing() -> None:
    done = on_avx2(Path(__file__).with_name("avx2_kernels.py"))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("mode", [Mode.STATIC, Mode.DYNAMIC])
def test_seven_bits_are_proven_safe_and_eight_are_not(mode: Mode) -> None:
    narrow, wide = (_quantised(_layer(), mode, reduce_range=seven) for seven in (True, False))
    assert saturation.is_safe(narrow)
    assert not saturation.is_safe(wide)
    assert saturation.runs_on({"a": narrow}) is Cpu.ANY
    assert saturation.runs_on({"a": narrow, "b": wide}) is Cpu.VNNI


@pytest.mark.parametrize("inner", [1, 2, 5, 8])
def test_bound_is_the_largest_sum_that_any_input_reaches(inner: int) -> None:
    proto = _quantised(_layer(inner, 3), Mode.STATIC, reduce_range=False)
    (product,) = saturation.products(proto)
    extremes = np.asarray(list(itertools.product((0, 255), repeat=inner)), np.uint8)
    sums = saturation.pair_sums(extremes, product.weight_GKN[0])
    assert product.largest_pair == np.abs(sums).max()


def test_weights_of_a_transposed_layer_pair_along_the_reduction() -> None:
    plain, transposed = (
        saturation.products(_quantised(_layer(transposed=flag), Mode.STATIC, reduce_range=False))[0] for flag in (False, True)
    )
    np.testing.assert_array_equal(plain.weight_GKN, transposed.weight_GKN)


@pytest.mark.parametrize("mode", [Mode.STATIC, Mode.DYNAMIC])
def test_simulated_error_is_the_one_that_saturating_sums_make(mode: Mode) -> None:
    proto, feeds = _quantised(_layer(), mode, reduce_range=False), _feeds()
    (found,) = saturation.simulate(proto, feeds, rows=100)
    weight = numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name.endswith(".s8"))).astype(np.int64)
    scale = numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name.endswith("weight.scale")))
    lost, whole, beyond, pairs = 0.0, 0.0, 0, 0
    for feed in feeds:
        step = (6.0 if mode is Mode.STATIC else feed["x"].max()) / 255
        values = np.clip(np.rint(feed["x"] / np.float32(step)), 0, 255).astype(np.int64)
        for i, j in itertools.product(range(len(values)), range(weight.shape[1])):
            sums = [values[i, k] * weight[k, j] + values[i, k + 1] * weight[k + 1, j] for k in range(0, len(weight), 2)]
            kept = [min(max(s, -32768), 32767) for s in sums]
            beyond, pairs = beyond + sum(s != k for s, k in zip(sums, kept, strict=True)), pairs + len(sums)
            lost += float(((sum(sums) - sum(kept)) * scale[j]) ** 2)
            whole += float((sum(sums) * scale[j]) ** 2)
    assert found.share == pytest.approx(beyond / pairs)
    assert found.share > 0.05
    assert found.relative_error == pytest.approx((lost / whole) ** 0.5, rel=1e-6)


def test_report_and_page_say_safe_or_give_figures() -> None:
    graphs = {
        "a": _quantised(_layer(), Mode.STATIC, reduce_range=True),
        "b": _quantised(_layer(), Mode.STATIC, reduce_range=False),
    }
    entries = saturation.report(graphs, {"b": _feeds()})
    assert (entries["a"]["safe"], entries["a"]["simulated"]) == (True, [])
    assert entries["a"]["largest_pair_sum"] <= saturation.LARGEST < entries["b"]["largest_pair_sum"]
    (line,) = saturation.warnings(entries)
    assert line.startswith("b: 1 of 1 products saturate without VNNI, worst up/MatMul")
    page = report._saturation(entries)
    assert "safe by construction" in page
    assert "1 saturate" in page


def test_taps_are_exact_on_every_processor() -> None:
    proto, (feed, *_) = _quantised(_layer(), Mode.STATIC, reduce_range=False), _feeds()
    (product,) = saturation.products(proto)
    values = next(iter(observers.run_taps(proto, ["y", product.activation], [feed])))
    exact = values[product.activation].astype(np.int64) @ product.weight_GKN[0] * (product.scale_GN[0] * np.float32(6 / 255))
    np.testing.assert_allclose(values["y"], exact, rtol=1e-5)
