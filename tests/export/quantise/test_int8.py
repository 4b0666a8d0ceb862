"""The INT8 pieces: rounding that outputs notice least, tables by row, what a plan keeps, ranges."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs import observers
from foveal_export.graphs.edit import in_modules
from foveal_export.parity import parity
from foveal_export.parity.paired import kappa_loss, resamples_of
from foveal_export.quantise import gptq, int8
from foveal_export.quantise.plan import GraphPlan, Mode, RangeRule
from foveal_export.quantise.smoothquant import smooth


def _depthwise(channels: int = 8, seed: int = 0) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    weight = numpy_helper.from_array(rng.normal(0, 1, (channels, 1, 3, 3)).astype(np.float32), "w")
    bias = numpy_helper.from_array(rng.normal(0, 1, channels).astype(np.float32), "b")
    shape: list[str | int | None] = ["batch", channels, 16, 16]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv/Conv", group=channels, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="conv.act/Relu"),
        helper.make_node("Reshape", ["r", "same"], ["y"], name="Reshape"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight, bias, numpy_helper.from_array(np.asarray([0, 0, 0, 0]), "same")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _photographs(count: int, channels: int = 8) -> list[observers.Feeds]:
    """Smooth inputs of varying brightness, as feature maps behind a ReLU are: nine neighbours rise and fall together."""
    rng = np.random.default_rng(1)
    return [
        {"x": (rng.uniform(1, 5) + rng.normal(0, 0.1, (1, channels, 16, 16))).clip(0, 6).astype(np.float32)}
        for _ in range(count)
    ]


def test_rounding_by_inputs_moves_outputs_less_than_nearest_rounding() -> None:
    proto, feeds = _depthwise(), _photographs(12)
    weight = numpy_helper.to_array(proto.graph.initializer[0])
    _, scale = int8.quantise_weight(weight, 0, reduce_range=False)
    convs = gptq.convolutions(proto)
    seen = gptq.moments(proto, convs, feeds)["conv/Conv"]
    nearest = gptq.nearest(weight, scale, 127)
    better = gptq.round_filters(weight, scale, seen, 127)
    second = seen.products_GKK / seen.count

    def error(values: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> float:
        lost = (weight - values * scale.reshape(-1, 1, 1, 1)).reshape(8, 9).astype(np.float64)
        lost_mean = (lost * seen.mean).sum(axis=1)
        return float((np.einsum("gk,gkl,gl->g", lost, second, lost) - lost_mean**2).sum())

    assert error(better) < 0.5 * error(nearest)
    shift = gptq.mean_error(weight, nearest, scale, seen)
    assert float(np.abs(shift).max()) > 0


def test_rounding_steps_survive_the_plan_file() -> None:
    rng = np.random.default_rng(0)
    plain, rounded = (rng.integers(-127, 128, (5, 7)).astype(np.int8) for _ in range(2))
    np.testing.assert_array_equal(gptq.unpack(gptq.pack(rounded, plain), plain), rounded)


def test_static_convolution_fuses_and_needs_no_relu() -> None:
    proto, feeds = _depthwise(), _photographs(6)
    seen = observers.observe(proto, int8.activations(proto), feeds)
    plan = GraphPlan(mode=Mode.STATIC, rule=RangeRule.MINMAX, ranges={n: s.minmax() for n, s in seen.items()})
    quantised = int8.to_int8(proto, plan)
    assert not [n for n in quantised.graph.node if n.op_type == "Relu"]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    exposed.graph.output[0].name = "r"
    assert [n for n in int8.to_int8(exposed, plan).graph.node if n.op_type == "Relu"], "nobody else would clip an output"
    expected, got = (observers.session(p, threads=1).run(None, dict(feeds[0]))[0] for p in (proto, quantised))
    assert float(np.linalg.norm(expected - got) / np.linalg.norm(expected)) < 0.03


def test_kept_modules_are_not_quantised() -> None:
    proto = _depthwise()
    kept = int8.to_int8(proto, GraphPlan(mode=Mode.STATIC, keep=("conv",)))
    assert not [n for n in kept.graph.node if n.op_type == "QuantizeLinear"]
    assert in_modules("blocks.1.conv/Conv", ["blocks.1"])
    assert not in_modules("blocks.10.conv/Conv", ["blocks.1"])


def test_embedding_rows_keep_their_own_scale() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (512, 16)).astype(np.float32)
    table[7] *= 1e-3
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"], name="words/Gather")],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(table, "table")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    small = int8.quantise_tables(proto)
    got = observers.session(small, threads=1).run(None, {"ids": np.asarray([7, 9])})[0]
    np.testing.assert_allclose(got[0], table[7], atol=np.abs(table[7]).max() / 127)
    assert len(small.SerializeToString()) < len(proto.SerializeToString()) / 2


def test_seven_bit_weights_stay_within_seven_bits() -> None:
    values, _ = int8.quantise_weight(np.random.default_rng(0).normal(size=(4, 9)), 0, reduce_range=True)
    assert int(np.abs(values.astype(int)).max()) == 63


def test_smoothing_changes_no_result() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "g": np.ones(8, np.float32),
        "b": np.zeros(8, np.float32),
        "w": rng.normal(size=(8, 4)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"], name="norm/LayerNormalization"),
            helper.make_node("MatMul", ["n", "w"], ["y"], name="up/MatMul"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    smoothed = smooth(proto, {"n": [1, 1, 50, 1, 1, 1, 1, 1]}, 0.5)
    feeds = {"x": rng.normal(size=(3, 8)).astype(np.float32)}
    ours, theirs = (observers.session(p, threads=1).run(None, feeds)[0] for p in (proto, smoothed))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert numpy_helper.to_array(proto.graph.initializer[2]).tolist() == weights["w"].tolist()


def test_histogram_of_growing_reach_counts_every_value() -> None:
    seen = observers.Seen()
    for scale in (1.0, 3.0, 100.0):
        seen.add(np.linspace(-scale, scale, 1001, dtype=np.float32), channels=False)
    assert int(seen.bins.sum()) == 3003
    assert seen.minmax() == (-100.0, 100.0)
    low, high = seen.percentile(0.5)
    assert -60 < low < 0 < high < 60


def test_equal_notes_are_equally_near() -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(4, 16)), 8, axis=0).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noisy = vectors + rng.normal(0, 1e-4, vectors.shape).astype(np.float32)
    assert parity.neighbour_overlap(vectors, noisy, noisy, count=5) == 1.0


def test_kappa_and_auroc_agree_with_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth, grade = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
    score, said = np.round(rng.random(200), 1), np.eye(5)[grade]
    found = kappa_loss(truth, said, said[::-1], resamples_of([str(i) for i in range(200)]))
    assert found.reference == pytest.approx(cohen_kappa_score(truth, grade, weights="quadratic"))
    assert found.artefact == pytest.approx(cohen_kappa_score(truth, grade[::-1], weights="quadratic"))
    assert parity.auroc(score, truth >= 2) == pytest.approx(roc_auc_score(truth >= 2, score))
