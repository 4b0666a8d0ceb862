"""The budget search: blocks ranked from one tapped pass, and which studies are shown as the worst."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export import search
from foveal_export.graphs.blocks import work
from foveal_export.parity.assess import worst
from foveal_export.parity.parity import Answers
from foveal_export.parity.verdict import Failure
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


class _Judge:
    """Measures by a rule: which (graph, block) have to be in floating point."""

    def __init__(self, needed: set[tuple[str, str]], blocks: dict[str, int]) -> None:
        self.needed, self.asked = needed, list[frozenset[tuple[str, str]]]()
        self.plan = ExportPlan(
            precision=Precision.INT8, space_id="", graphs={name: GraphPlan(mode=Mode.STATIC) for name in blocks}
        )
        self.ranked = [(name, f"b{i}") for name, count in blocks.items() for i in range(count)]

    def measure(self, _: Path, plan: ExportPlan) -> Any:
        kept = {(name, block) for name, graph in plan.graphs.items() for block in graph.keep}
        self.asked.append(frozenset(kept))
        missing = len(self.needed - kept)
        failures = [Failure(subset="image", quantity="min_cosine", got=0.9 - missing / 100, limit=0.95)] * bool(missing)
        return SimpleNamespace(failures=failures, graphs={}, kept=kept)


def _searched(monkeypatch: pytest.MonkeyPatch, judge: _Judge) -> tuple[set[tuple[str, str]], int]:
    """What the search gave back, and how often it measured."""
    monkeypatch.setattr(search, "rank", lambda *_: judge.ranked)
    monkeypatch.setattr(search, "_candidate", lambda judge, folder, outcome, chosen: chosen)
    first = judge.measure(Path(), judge.plan)
    plan, outcome, tried = search.search(judge, Path(), judge.plan, first)  # type: ignore[arg-type]
    chosen = {(name, block) for name, graph in plan.graphs.items() for block in graph.keep}
    assert outcome.kept == chosen, "the measurement is not the returned plan's"
    assert judge.asked[-1] == chosen, "the folder does not hold the returned plan's graphs"
    assert set(tried[-1]) == {f"{name}.{block}" for name, block in chosen}  # type: ignore[call-overload]
    return chosen, len(judge.asked)


def test_doubling_is_bisected_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # Doubling tries 1, 2, 4, 8; five are needed.
    needed = {("image", f"b{i}") for i in range(5)}
    chosen, _ = _searched(monkeypatch, _Judge(needed, {"image": 16}))
    assert chosen == needed


def test_a_block_that_was_not_needed_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {("image", "b0"), ("image", "b6")}
    chosen, measured = _searched(monkeypatch, _Judge(needed, {"image": 16}))
    assert chosen == needed
    assert measured <= 16


def test_only_the_graph_that_is_to_blame_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # The image's blocks rank first, and help nothing.
    chosen, _ = _searched(monkeypatch, _Judge({("fusion", "b1")}, {"image": 12, "fusion": 4}))
    assert chosen == {("fusion", "b1")}


def test_two_graphs_that_are_both_to_blame_both_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {("image", "b0"), ("fusion", "b0")}
    chosen, _ = _searched(monkeypatch, _Judge(needed, {"image": 3, "fusion": 3}))
    assert chosen == needed


def test_a_budget_that_nothing_holds_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = _Judge({("image", "none")}, {"image": 3, "fusion": 2})
    chosen, _ = _searched(monkeypatch, judge)
    assert chosen == set(judge.ranked)


def test_of_two_equal_errors_the_cheaper_block_is_given_back_first() -> None:
    rng = np.random.default_rng(0)
    # The second block has sixteen times the weights and the products of the first, and four times its width.
    shapes = {"blocks.0": (8, 8), "blocks.1": (8, 8), "blocks.2": (8, 128), "blocks.3": (128, 8)}
    tensors = ["x", "a", "b", "c", "y"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [tensors[i], f"w{i}"], [tensors[i + 1]], name=f"{name}/MatMul")
            for i, name in enumerate(shapes)
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 8])],
        [
            numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), f"w{i}")
            for i, shape in enumerate(shapes.values())
        ],
    )
    graph.node.append(helper.make_node("Identity", ["y"], ["z"], name="Identity"))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert work(proto) == {"blocks.0": (64, 64), "blocks.1": (64, 64), "blocks.2": (1024, 1024), "blocks.3": (1024, 1024)}
    plan = ExportPlan(precision=Precision.INT8, space_id="", graphs={"fusion": GraphPlan(mode=Mode.STATIC)})
    judge: Any = SimpleNamespace(exact={"fusion": proto}, calibration={"fusion": []})
    # Squared error grows by 1, 0.9, 8, 1.
    rows = [{"blocks.0": 1.0, "blocks.1": 1.9**0.5, "blocks.2": 9.9**0.5, "blocks.3": 10.9**0.5}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "drift", lambda *_: rows)
        ranked = [block for _, block in rank(judge, plan, {"fusion": proto})]
    assert ranked == ["blocks.0", "blocks.1", "blocks.2", "blocks.3"], "the largest error costs sixteen times as much"
