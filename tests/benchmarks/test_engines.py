"""Agreement, equals and shares of the engines' benchmark, and its processes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def engines(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("engines")


def test_agreement_is_relative_to_the_spread_and_cosines_are_of_photographs(engines: ModuleType) -> None:
    expected = np.random.default_rng(0).normal(size=(4, 5, 8)) + 100  # a common part that agrees says nothing
    same = engines.agreement(expected, expected)
    assert (same["relative_error"], same["least_cosine"]) == (0.0, 1.0)
    mean = np.broadcast_to(expected.reshape(-1, 8).mean(axis=0), expected.shape)
    assert engines.agreement(expected, mean)["relative_error"] == pytest.approx(1.0)
    one = expected.copy()
    one[2] *= -1
    found = engines.agreement(expected, one)
    assert found["least_cosine"] == pytest.approx(-1.0)
    assert found["mean_cosine"] == pytest.approx(0.5)


def row(precision: str, ms: float, error: float = 0.0, ours: bool = False) -> dict[str, Any]:
    return {
        "precision": precision,
        "ours": ours,
        "photographs": {"relative_error": error},
        "graph": {1: [ms, ms * 1.1, ms * 0.9]},
        "photograph": [ms + 5] * 3,
    }


def test_foveal_is_held_against_the_fastest_equal_and_not_against_a_coarser_one(engines: ModuleType) -> None:
    rows = {
        "foveal INT8": row("int8", 10, 0.05, ours=True),
        "foveal FP32": row("fp32", 20, ours=True),
        "torch": row("fp32", 30),
        "OpenVINO": row("fp32", 18),
        "coarse": row("int8", 5, 0.2),
        "equal": row("int8", 12, 0.052),
        "failed": {"precision": "int8", "ours": False, "error": "x", "graph": {}, "photograph": []},
    }
    found = engines.judged(rows, {"torch fp32": 40.0, "torch int8": 50.0, "onnxruntime int8": 100.0}, 200_000_000)
    int8, fp32 = found["foveal INT8"], found["foveal FP32"]
    assert int8["equals"] == ["OpenVINO", "equal", "torch"]
    assert int8["graph, 1 a call"]["best_other"] == "equal"
    assert int8["graph, 1 a call"]["as_fast"]["median"] == pytest.approx(1.2)
    assert int8["graph, 1 a call"]["met"] is True
    assert fp32["graph, 1 a call"]["best_other"] == "OpenVINO"
    assert fp32["graph, 1 a call"]["met"] is False
    # 0.4 billion operations in 10 ms are 40 a second, of 100; in 20 ms 20, of 40.
    assert rows["foveal INT8"]["share_of_gemm"][1] == pytest.approx(0.4)
    assert rows["foveal FP32"]["share_of_gemm"][1] == pytest.approx(0.5)


def test_a_runner_answers_and_says_what_failed(engines: ModuleType, tmp_path: Path) -> None:
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["b", 2]) for n in ("pixels_BCHW", "tokens"))
    node = onnx.helper.make_node("Neg", ["pixels_BCHW"], ["tokens"])
    opset = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]), opset_imports=opset), tmp_path / "g.onnx")
    np.save(tmp_path / "pixels.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    lines = importlib.import_module("lines")
    command = (sys.executable, str(BENCHMARKS / "engine_runner.py"), "onnxruntime", "1", f"image={tmp_path / 'g.onnx'}")
    with lines.LineProcess("ort", command, os.environ) as process:
        process.ask("tokens", pixels=str(tmp_path / "pixels.npy"), out=str(tmp_path / "out.npy"))
        assert np.load(tmp_path / "out.npy").tolist() == [[0, -1], [-2, -3], [-4, -5]]
        assert len(process.ask("graph", pixels=str(tmp_path / "pixels.npy"), batch=5, repeat=2)["ms"]) == 2
        with pytest.raises(lines.ChildError, match="ort, tokens: FileNotFoundError"):
            process.ask("tokens", pixels="nowhere.npy", out="")
