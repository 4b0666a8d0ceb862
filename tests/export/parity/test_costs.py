"""Times of precisions side by side: what a graph computes, not what else the machine does meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from foveal_export.graphs import observers
from foveal_export.parity import costs
from foveal_export.studies.cases import Case
from foveal_runtime.bundle.manifest import FUSION, Precision
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.study.study import Modality

_WIDTH = 4
_ELSEWHERE_S = 0.02
"""Of every call, in which the processor does another's work."""


class _Preempted:
    """A session whose calls wait for the processor, like one on a busy machine."""

    def __init__(self, session: Any, kind: str, calls: list[str]) -> None:
        self._session, self._kind, self._calls = session, kind, calls

    def run(self, names: Any, feed: Any) -> Any:
        self._calls.append(self._kind)
        time.sleep(_ELSEWHERE_S)
        return self._session.run(names, feed)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files whose graphs were run, in order, by sessions that wait before each call."""
    made: list[str] = []
    opened = observers.session

    def session(path: Path, **options: Any) -> _Preempted:
        return _Preempted(opened(path, **options), path.stem, made)

    monkeypatch.setattr(observers, "session", session)
    return made


def _graph(inputs: dict[str, tuple[int, list[Any]]], first: str) -> onnx.ModelProto:
    """One product of its first input, with as many tokens as there are."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [first, "w"], ["y"]), helper.make_node("Unsqueeze", ["y", "axis"], ["z"])],
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, *inputs[first][1]])],
        [numpy_helper.from_array(np.eye(_WIDTH, dtype=np.float32), "w"), numpy_helper.from_array(np.array([0]), "axis")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_waiting_for_the_processor_costs_no_precision_anything(tmp_path: Path, calls: list[str]) -> None:
    name = Modality.STRUCTURED.value
    tokens = {"tokens_BTD": (TensorProto.FLOAT, [1, "t", _WIDTH]), "mask_BT": (TensorProto.BOOL, [1, "t"])}
    exact = {
        name: _graph({"features_BF": (TensorProto.FLOAT, [1, _WIDTH])}, "features_BF"),
        FUSION: _graph(tokens, "tokens_BTD"),
    }
    written = {graph: tmp_path / f"{graph}.int8.onnx" for graph in exact}
    for graph, path in written.items():
        onnx.save(exact[graph], path)
    prepared = Prepared(subset=frozenset({Modality.STRUCTURED}), features_F=np.ones(_WIDTH, np.float32))
    checks = {name: [Case(id="", prepared=prepared)]}

    rows = {row.name: row for row in costs.costs(exact, written, Precision.INT8, checks, tmp_path)}

    assert list(rows) == ["fp32", "fp16", "int8"]
    assert all(ms < 1e3 * _ELSEWHERE_S / 2 for row in rows.values() for ms in row.graphs_ms.values())
    turns = [call for call in calls if call != "fp16"][-2 * 7 :]
    assert {frozenset(turns[i : i + 2]) for i in range(0, len(turns), 2)} == {frozenset({"fp32", "fusion.int8"})}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written.values()}, "nothing stays there"
