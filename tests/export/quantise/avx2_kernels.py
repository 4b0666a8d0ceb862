"""Run where pairs of INT8 products saturate: ONNX Runtime's kernels against the simulation, and against exact sums.

python avx2_kernels.py      exits 0 when every kernel does, to the last bit, what `quantise.saturation` says it does
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs import observers
from foveal_export.quantise import saturation
from foveal_runtime.engine.processor import this_processor

RNG = np.random.default_rng(0)
CONVOLUTIONS = (
    # in, out, groups, kernel, stride, padding
    (32, 24, 1, 1, 1, 0),
    (32, 24, 1, 3, 1, 1),
    (3, 8, 1, 3, 2, 1),
    (5, 7, 1, 3, 1, 1),
    (64, 64, 4, 3, 1, 1),
    (6, 6, 3, 3, 1, 0),
    (8, 16, 8, 3, 1, 1),
)
DEPTHWISE = ((16, 16, 16, 3, 1, 1), (32, 32, 32, 5, 2, 2))


def _run(proto: onnx.ModelProto, feeds: dict[str, Any], *, exact: bool) -> Any:
    return observers.session(proto, threads=1, exact=exact).run(None, feeds)[0]


def matrix_products(rows: int, inner: int, columns: int, limit: int) -> None:
    """MatMulInteger of random values, weights up to `limit`."""
    weight = RNG.integers(-limit, limit + 1, (inner, columns)).astype(np.int8)
    values = RNG.integers(0, 256, (rows, inner)).astype(np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [numpy_helper.from_array(weight, "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    sums = saturation.pair_sums(values, weight)
    whole = values.astype(np.int64) @ weight.astype(np.int64)
    shape = (rows, inner, columns, limit)
    assert (sums.sum(axis=1) == whole).all(), shape
    simulated = sums.clip(saturation.LEAST, saturation.LARGEST).sum(axis=1)
    assert (_run(proto, {"a": values}, exact=False) == simulated).all(), shape
    assert (_run(proto, {"a": values}, exact=True) == whole).all(), shape
    assert limit > 63 or (simulated == whole).all(), shape


def convolution(channels: int, out: int, groups: int, kernel: int, stride: int, padding: int, kind: type[Any]) -> None:
    """A Q/DQ convolution whose quantised output is compared step by step."""
    zero = 37 if kind is np.uint8 else 0
    weight = RNG.integers(-127, 128, (out, channels // groups, kernel, kernel)).astype(np.int8)
    values = (RNG.integers(0, 256, (2, channels, 9, 9)) - (0 if kind is np.uint8 else 128)).astype(kind)
    step = float(channels // groups * kernel * kernel * 20 + 1)
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["x.q8"]),
        node("DequantizeLinear", ["x.q8", "one", "zero"], ["x.dq"]),
        node("DequantizeLinear", ["w", "ones", "zeros"], ["w.dq"], axis=0),
        node("DequantizeLinear", ["b", "ones"], ["b.dq"], axis=0),
        node("Conv", ["x.dq", "w.dq", "b.dq"], ["y"], name="conv/Conv", group=groups, pads=[padding] * 4,
             strides=[stride] * 2, kernel_shape=[kernel] * 2),
        node("QuantizeLinear", ["y", "step", "middle"], ["y.q8"]),
        node("DequantizeLinear", ["y.q8", "step", "middle"], ["out"]),
    ]  # fmt: skip
    constants = {
        "one": np.asarray(1, np.float32),
        "zero": np.asarray(zero, kind),
        "w": weight,
        "ones": np.ones(out, np.float32),
        "zeros": np.zeros(out, np.int8),
        "b": np.zeros(out, np.int32),
        "step": np.asarray(step, np.float32),
        "middle": np.asarray(128 if kind is np.uint8 else 0, kind),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, 9, 9])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", out, "height", "width"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {"x": values.astype(np.float32) - zero}
    fast, exact = (_run(proto, feeds, exact=exact) for exact in (False, True))
    (product,) = saturation.products(proto)
    shifted, zero_point = saturation._as_u8(values, np.asarray(zero))
    side = fast.shape[2]
    saturated, whole = [], []
    for group, rows_MK in enumerate(saturation._rows(product, shifted, zero_point, 2 * side * side)):
        weight_KN = product.weight_GKN[group]
        sums, offset = saturation.pair_sums(rows_MK, weight_KN), zero_point * weight_KN.astype(np.int64).sum(axis=0)
        saturated.append(sums.clip(saturation.LEAST, saturation.LARGEST).sum(axis=1) - offset)
        whole.append(sums.sum(axis=1) - offset)

    def stepped(parts: list[Any]) -> Any:
        maps = np.concatenate(parts, axis=1).reshape(2, side, side, out).transpose(0, 3, 1, 2)
        return np.clip(np.rint(maps.astype(np.float32) / np.float32(step)), -128, 127) * np.float32(step)

    shape = (channels, out, groups, kernel, kind.__name__)
    assert (exact == stepped(whole)).all(), shape
    assert (fast == stepped(whole if product.is_depthwise else saturated)).all(), shape
    assert (stepped(whole) != stepped(saturated)).any(), f"{shape}: these values saturate nothing, so nothing was shown"


def layer(inner: int, columns: int, limit: int) -> None:
    """A Q/DQ Gemm with a bias, which becomes QGemm."""
    weight = RNG.integers(-limit, limit + 1, (inner, columns)).astype(np.int8)
    values = RNG.integers(0, 256, (5, inner)).astype(np.uint8)
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "one", "zero"], ["x.q8"]),
        node("DequantizeLinear", ["x.q8", "one", "zero"], ["x.dq"]),
        node("DequantizeLinear", ["w", "ones", "zeros"], ["w.dq"], axis=1),
        node("DequantizeLinear", ["b", "ones", "nothing"], ["b.dq"], axis=0),
        node("Gemm", ["x.dq", "w.dq", "b.dq"], ["out"], name="up/Gemm"),
    ]
    constants = {
        "one": np.asarray(1, np.float32),
        "zero": np.asarray(0, np.uint8),
        "w": weight,
        "ones": np.ones(columns, np.float32),
        "zeros": np.zeros(columns, np.int8),
        "b": np.zeros(columns, np.int32),
        "nothing": np.zeros(columns, np.int32),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", inner])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["rows", columns])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    sums = saturation.pair_sums(values, weight)
    saturated, whole = sums.clip(saturation.LEAST, saturation.LARGEST).sum(axis=1), sums.sum(axis=1)
    feeds = {"x": values.astype(np.float32)}
    for exact, expected in ((False, saturated), (True, whole)):
        assert (_run(proto, feeds, exact=exact) == expected.astype(np.float32)).all(), (inner, columns, limit, exact)
    assert (saturated == whole).all() == (limit <= 63)


def main() -> None:
    """Compare."""
    assert this_processor().saturates, f"{this_processor()} saturates nothing"
    for rows, inner, columns in itertools.product((1, 7), (1, 2, 5, 64, 257, 768), (1, 17, 64)):
        for limit in (127, 63):
            matrix_products(rows, inner, columns, limit)
    for limit in (127, 63):
        layer(96, 24, limit)
    for kind in (np.uint8, np.int8):
        for shape in (*CONVOLUTIONS, *DEPTHWISE):
            convolution(*shape, kind)


if __name__ == "__main__":
    main()
