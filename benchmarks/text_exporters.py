"""The text encoder through torch.onnx (dynamo) and through Optimum's exporter: fused nodes, speed, size, agreement.

    python benchmarks/text_exporters.py --profile edge --json benchmarks/results/text_exporters.json

Weights may be random (`base`): times and sizes do not depend on them. Optimum's graph is measured as it comes, and after
ONNX Runtime's offline optimiser for BERT (what Optimum's ORTOptimizer runs), which puts contrib operators into it. Every time
is the least of repetitions that take turns.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import onnx
import onnxruntime as ort
import torch
from cyclopts import Parameter

from export_speed import measurable
from foveal_export.graphs import observers
from foveal_export.graphs.graphs import export_graph
from foveal_export.graphs.text_optimum import export_text
from foveal_export.quantise import calibrate, int8
from foveal_runtime.study.study import Modality
from foveal_train.model.weights import build_model

app = cyclopts.App(help=__doc__)
LENGTHS = (32, 128)
FUSED = ("Attention", "MultiHeadAttention", "SkipLayerNormalization", "EmbedLayerNormalization", "BiasGelu", "Gelu", "FastGelu")


@app.default
def main(
    *,
    profile: str = "edge",
    threads: int = 2,
    repetitions: int = 15,
    json_: Annotated[Path | None, Parameter(name=["--json"])] = None,
) -> None:
    """Measure.

    Parameters
    ----------
    profile
        edge or base.
    threads
        Threads of ONNX Runtime.
    repetitions
        Rounds; each time is the least of them.
    json_
        Write the figures here, under the profile's name.
    """
    built = build_model(measurable(profile), seed=0)
    built.model.eval()
    optimum = export_text(built.model, built.config)
    graphs = {
        "torch.onnx": export_graph(built.model, built.config, Modality.TEXT.value),
        "Optimum": optimum,
        "Optimum, offline optimiser": _optimised(optimum, built.model.text.bert),
    }
    rng = np.random.default_rng(0)
    feeds = [_feed(rng, tokens) for tokens in (12, 24, 32, 48, 64, 96, 128, 32)]
    document: dict[str, Any] = {"threads": threads, "cores": os.cpu_count()}
    sessions: dict[tuple[str, str], Any] = {}
    for name, proto in graphs.items():
        entry: dict[str, Any] = {"bytes": len(proto.SerializeToString()), "fused": _fused(proto)}
        with torch.inference_mode():
            gaps = []
            for feed in feeds:
                want = built.model.text(*(torch.from_numpy(feed[k]) for k in ("input_ids_BT", "attention_mask_BT"))).numpy()
                gaps.append(float(np.abs(observers.session(proto, threads=threads).run(None, feed)[0] - want).max()))
        entry["max_abs_against_pytorch"] = max(gaps)
        sessions[name, "FP32"] = observers.session(proto, threads=threads)
        if name != "Optimum, offline optimiser":
            plan, schemes = calibrate.plan_graph("text", proto, feeds, reduce_range=True, static_only=False)
            quantised = int8.to_int8(proto, plan)
            error = next(scheme.relative_error for scheme in schemes if scheme.chosen)
            entry["int8"] = {"mode": plan.mode.value, "bytes": len(quantised.SerializeToString()), "relative_error": error}
            sessions[name, "INT8"] = observers.session(quantised, threads=threads)
        document[name] = entry
    least: dict[tuple[str, str, int], float] = {}
    for _ in range(repetitions):
        for (name, precision), session in sessions.items():
            for tokens in LENGTHS:
                feed = _feed(np.random.default_rng(1), tokens)
                started = time.perf_counter()
                session.run(None, feed)
                key = (name, precision, tokens)
                least[key] = min(least.get(key, np.inf), time.perf_counter() - started)
    for (name, precision, tokens), seconds in least.items():
        document[name].setdefault("ms", {})[f"{precision}, {tokens} tokens"] = round(seconds * 1e3, 3)
    print(json.dumps({profile: document}, indent=1))
    if json_ is not None:
        kept = json.loads(json_.read_text()) if json_.is_file() else {}
        json_.write_text(json.dumps({**kept, profile: document}, indent=1) + "\n", encoding="utf-8")


def _feed(rng: np.random.Generator, tokens: int) -> dict[str, np.ndarray]:
    return {
        "input_ids_BT": rng.integers(1000, 20_000, (1, tokens)),
        "attention_mask_BT": np.ones((1, tokens), np.int64),
    }


def _optimised(proto: onnx.ModelProto, bert: Any) -> onnx.ModelProto:
    from onnxruntime.transformers.optimizer import optimize_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.onnx"
        onnx.save(proto, path)
        heads, hidden = bert.config.num_attention_heads, bert.config.hidden_size
        optimised: onnx.ModelProto = optimize_model(str(path), model_type="bert", num_heads=heads, hidden_size=hidden).model
        return optimised


def _fused(proto: onnx.ModelProto) -> dict[str, int]:
    """Fused nodes of the graph as ONNX Runtime runs it."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(Path(folder) / "text.onnx")
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        ops = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    return {op: ops[op] for op in (*FUSED, "LayerNormalization", "Softmax", "Transpose", "MatMul", "Gemm") if ops[op]}


if __name__ == "__main__":
    app()
