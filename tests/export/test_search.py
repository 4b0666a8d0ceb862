"""The budget search: blocks ranked from one tapped pass, who counts as trained, which studies are shown as the worst."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.assess import worst
from foveal_export.int8 import to_int8
from foveal_export.parity import Answers, is_graded
from foveal_export.plan import ExportPlan, GraphPlan, Mode
from foveal_export.search import keep, rank
from foveal_runtime.engine import VectorKind
from foveal_runtime.labels import Head
from foveal_runtime.manifest import OperatingPoint, Precision, SubsetCalibration
from foveal_train.losses import MISSING


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


def _info(*, epochs: int = 3, fitted: int = 0) -> Any:
    point = OperatingPoint(name="default", threshold=0.5, studies=fitted)
    return SimpleNamespace(
        epochs=epochs,
        trained_heads=(Head.ICDR,),
        model=SimpleNamespace(profile="edge"),
        calibration={"image": SubsetCalibration(operating_points=(point,))},
    )


@pytest.mark.parametrize(("skill", "expected"), [(3.0, True), (0.0, False)])
def test_a_model_that_grades_by_chance_counts_as_hardly_trained(skill: float, expected: bool) -> None:
    truth = np.tile(np.asarray([0, 3]), 40)
    logits = np.zeros((80, 5), np.float32)
    logits[:, 3] = skill * (truth == 3) + np.repeat([0.1, -0.1, 0.0, 0.1], 20)
    assert is_graded(_info(), {"image": Answers(vectors={}, logits={Head.ICDR: logits})}, {"image": truth}) is expected
    assert not is_graded(_info(epochs=0), {"image": Answers(vectors={}, logits={Head.ICDR: logits})}, {"image": truth})


def test_without_both_kinds_at_hand_the_fitted_operating_points_decide() -> None:
    answers = {"image": Answers(vectors={}, logits={Head.ICDR: np.zeros((4, 5), np.float32)})}
    unlabelled = {"image": np.full(4, MISSING)}
    assert is_graded(_info(fitted=30), answers, unlabelled)
    assert not is_graded(_info(fitted=0), answers, unlabelled)


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
