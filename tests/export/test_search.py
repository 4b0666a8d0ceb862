"""The budget search: blocks ranked from one tapped pass, and which studies are shown as the worst."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.parity.assess import worst
from foveal_export.parity.parity import Answers
from foveal_export.quantise.int8 import to_int8
from foveal_export.quantise.plan import ExportPlan, GraphPlan, Mode
from foveal_export.search import keep, rank
from foveal_runtime.bundle.manifest import Precision
from foveal_runtime.engine.answers import VectorKind


def test_the_block_that_adds_most_error_is_given_back_first() -> None:
    rng = np.random.default_rng(0)
    names = ["blocks.0", "blocks.1", "blocks.2"]
    weights = [numpy_helper.from_array(rng.normal(0, 0.2, (16, 16)).astype(np.float32), f"w{i}") for i in range(3)]
    tensors = ["x", "a", "b", "y"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [tensors[i], f"w{i}"], [tensors[i + 1]], name=f"{n}/MatMul") for i, n in enumerate(names)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 16])],
        weights,
    )
    graph.node.append(helper.make_node("Identity", ["y"], ["z"], name="Identity"))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    # The middle block reads its input through a range a hundred times too wide.
    ranges = {"x": (-4.0, 4.0), "a": (-400.0, 400.0), "b": (-4.0, 4.0)}
    plan = ExportPlan(precision=Precision.INT8, space_id="", graphs={"fusion": GraphPlan(mode=Mode.STATIC, ranges=ranges)})
    feeds = [{"x": rng.normal(size=(3, 16)).astype(np.float32)} for _ in range(4)]
    judge: Any = SimpleNamespace(exact={"fusion": proto}, calibration={"fusion": feeds})

    ranked = rank(judge, plan, {"fusion": to_int8(proto, plan.graphs["fusion"])})

    assert ranked[0] == ("fusion", "blocks.1")
    assert {block for _, block in ranked} == set(names)
    kept = keep(plan, ranked[:1])
    again = rank(judge, kept, {"fusion": to_int8(proto, kept.graphs["fusion"])})
    assert ("fusion", "blocks.1") not in again


def test_a_study_is_among_the_worst_once_with_its_least_cosine() -> None:
    unit = np.eye(3, 8, dtype=np.float32)
    off = unit.copy()
    off[0], off[1] = [0.6, 0.8, *[0] * 6], [0.28, 0.96, *[0] * 6]
    before = Answers(vectors={VectorKind.JOINT: unit, VectorKind.IMAGE: unit}, logits={})
    near = unit.copy()
    near[0] = [0.8, 0.6, *[0] * 6]  # the same study again, by its other vector
    after = Answers(vectors={VectorKind.JOINT: off, VectorKind.IMAGE: near}, logits={})
    cases: Any = {"image": [SimpleNamespace(id=name) for name in "abc"]}
    rows = worst({"image": before}, {"image": after}, cases, 2)
    assert [(row.study, row.kind) for row in rows] == [("a", "joint"), ("b", "joint")]
    assert rows[0].cosine == pytest.approx(0.6)
