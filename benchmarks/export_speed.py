"""Speed of a profile's graphs against PyTorch and against each other, all in one run, so that ratios mean something.

    python benchmarks/export_speed.py --profile edge --json benchmarks/results/export_speed_edge.json
    python benchmarks/export_speed.py --profile base --json benchmarks/results/export_speed_base.json

Weights may be random (`base`): times and sizes do not depend on them. Every figure is the least of several repetitions that
take turns, so that a neighbour's load falls on all of them alike; how many cores others used meanwhile is written down.

ONNX Runtime's INT8 rate is that of its own MatMulInteger (U8 x S8, constant weights) with the same threads and session
options, in two readings: a product of 1024 x 1024 x 1024, and the encoder's own products, each by itself in its own shape.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import onnx
import torch
from cyclopts import Parameter
from onnx import TensorProto, helper, numpy_helper

from foveal_export.bundle.golden import golden_studies
from foveal_export.graphs import observers
from foveal_export.graphs.graphs import export_graph
from foveal_export.quantise import calibrate, int8
from foveal_export.quantise.fp16 import store_half
from foveal_export.quantise.plan import GraphPlan, Mode
from foveal_export.studies.cases import Case
from foveal_export.studies.feeds import Feeds, fusion_feed
from foveal_runtime.bundle.manifest import FUSION
from foveal_runtime.study.labels import SCHEMES
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import ALL_SUBSETS, Modality
from foveal_train.model.profile import ModelConfig
from foveal_train.model.weights import build_model
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import RunInfo
from foveal_train.training.recipe_file import load_recipe

app = cyclopts.App(help=__doc__)
NOTE_TOKENS = 32


def measurable(profile: str) -> ModelConfig:
    """The model of a profile's recipe, weights at hand: `base` gets random ones, on which neither times nor sizes depend."""
    config = load_recipe(profile).model
    if profile != "base":
        return config
    return dataclasses.replace(
        config,
        image=dataclasses.replace(config.image, weights="random"),
        text=dataclasses.replace(config.text, weights="random"),
    )


@app.default
def main(
    *,
    profile: str = "edge",
    threads: int = 2,
    repetitions: int = 7,
    graphs: Path | None = None,
    json_: Annotated[Path | None, Parameter(name=["--json"])] = None,
) -> None:
    """Measure.

    Parameters
    ----------
    profile
        edge or base.
    threads
        Threads of PyTorch and of ONNX Runtime.
    repetitions
        Rounds; each figure is the least of them.
    graphs
        Keep the graphs in this folder, and measure those that are in it: a second run then measures alone.
    json_
        Write the figures here.
    """
    torch.set_num_threads(threads)
    config = measurable(profile)
    built = build_model(config, seed=0)
    features = FeatureStats(spec=config.record_spec)
    info = RunInfo(
        foveal_version="", recipe={}, model=built.config, data=(), seed=0, features=features, trained_heads=SCHEMES,
        trained_subsets=("image+text+structured",), space_id="",
    )  # fmt: skip
    plain = Reference(built.model, built.tokenizer_json, info)
    padded = Reference(built.model, built.tokenizer_json, info, pad_notes_to=config.text_spec.max_tokens)
    studies = [s for s in golden_studies(ALL_SUBSETS) if len(s.modalities) == 3]
    cases = [Case(id=s.id, prepared=plain.prepare(s)) for s in studies]
    # A note of NOTE_TOKENS tokens: cut, or repeated, from a generated one.
    one = cases[0].prepared
    assert one.ids_T is not None
    ids_T = np.concatenate([one.ids_T[:1], np.resize(one.ids_T[1:-1], NOTE_TOKENS - 2), one.ids_T[-1:]])
    one = dataclasses.replace(one, ids_T=ids_T)
    names = (*[m.value for m in Modality], FUSION)
    if graphs is None or not graphs.is_dir():
        variants, schemes = _variants(built, names, cases)
        if graphs is not None:
            _keep(graphs, variants, schemes)
    else:
        variants, schemes = _kept(graphs)
    exact, half, quantised = (variants[kind] for kind in ("fp32", "fp16", "int8"))
    dynamic_image = variants["dynamic"].get("image")
    assert one.pixels_CHW is not None
    tasks: dict[str, Callable[[], object]] = {}
    for batch in (1, 8):
        pixels = np.repeat(one.pixels_CHW[None], batch, axis=0)
        tensor = torch.from_numpy(pixels)
        tasks[f"image torch b{batch}"] = partial(built.model.image, tensor)
        for label, proto in (("fp32", exact["image"]), ("fp16", half["image"]), ("int8", quantised["image"])):
            session = observers.session(proto, threads=threads)
            tasks[f"image {label} b{batch}"] = partial(session.run, None, {"pixels_BCHW": pixels})
        if dynamic_image is not None:
            session = observers.session(dynamic_image, threads=threads)
            tasks[f"image int8 dynamic b{batch}"] = partial(_one_by_one, session, pixels)
    tasks["study torch"] = lambda: plain.run_prepared([one], frozenset())
    tasks["study torch padded to 128"] = lambda: padded.run_prepared([one], frozenset())
    for label, protos in (("fp32", exact), ("fp16", half), ("int8", quantised)):
        tasks[f"study {label}"] = _study({n: observers.session(p, threads=threads) for n, p in protos.items()}, one)
    products = _products(exact["image"])
    cube = (1024, 1024, 1024)
    # A CNN's products are of other kinds: depthwise ones have two axes of 1.
    measured = (cube, *products) if built.model.image.family.is_transformer else (cube,)
    for shape in measured:
        tasks[f"gemm {shape}"] = _gemm(shape, threads)
    least: dict[str, float] = {}
    busy, own, begun = _busy_s(), time.process_time(), time.perf_counter()
    with torch.inference_mode():
        for _ in range(repetitions):
            for name, task in tasks.items():
                started = time.perf_counter()
                task()
                least[name] = min(least.get(name, np.inf), time.perf_counter() - started)
    others = max(0.0, (_busy_s() - busy - (time.process_time() - own)) / (time.perf_counter() - begun))
    ms = {name: value * 1e3 for name, value in least.items()}
    rate = 2 * math.prod(cube) * _CALLS / least[f"gemm {cube}"]
    work = sum(math.prod(shape) * count for shape, count in products.items())
    alone_ms = sum(ms[f"gemm {shape}"] / _CALLS * products[shape] for shape in measured[1:])
    best = min(("image int8 b1", "image int8 dynamic b1"), key=lambda n: ms.get(n, np.inf))
    document = {
        "profile": profile,
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "threads": threads,
            "cores_used_by_others": round(others, 2),
        },
        "ms": {name: round(value, 3) for name, value in ms.items()},
        "ratios": {
            "image int8 / torch, batch 1": ms["image torch b1"] / ms[best],
            "image int8 / torch, batch 8": ms["image torch b8"] / ms[best.replace("b1", "b8")],
            "image share of the INT8 rate of 1024 x 1024 x 1024": 2 * work / (ms[best] / 1e3) / rate,
            "image share of the INT8 rate of its own products": alone_ms / ms[best] or None,
            "study int8 / torch": ms["study torch"] / ms["study int8"],
            "study int8 / torch padded to 128": ms["study torch padded to 128"] / ms["study int8"],
            "study int8 / ORT fp32": ms["study fp32"] / ms["study int8"],
            "study fp16 / ORT fp32, time": ms["study fp16"] / ms["study fp32"],
        },
        "gemm_gops": {str(shape): round(2 * math.prod(shape) * _CALLS / least[f"gemm {shape}"] / 1e9) for shape in measured},
        "image_products": {str(shape): products[shape] for shape in measured[1:]},
        "image_multiply_adds": work,
        "graph_bytes": {
            label: {name: proto.ByteSize() for name, proto in protos.items()}
            for label, protos in (("fp32", exact), ("fp16", half), ("int8", quantised))
        },
        "schemes": schemes,
    }
    print(json.dumps(document, indent=1))
    if json_ is not None:
        json_.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _one_by_one(session: Any, pixels_BCHW: np.ndarray) -> None:
    for place in range(len(pixels_BCHW)):
        session.run(None, {"pixels_BCHW": pixels_BCHW[place : place + 1]})


def _study(sessions: dict[str, Any], one: Any) -> Callable[[], object]:
    from foveal_export.studies.feeds import encoder_feed

    def run() -> object:
        tokens = {m: sessions[m.value].run(None, encoder_feed(one, m))[0][0] for m in Modality}
        return sessions[FUSION].run(None, fusion_feed(tokens))

    return run


_CALLS = 4
"""Products in one measurement."""


def _gemm(shape: tuple[int, int, int], threads: int) -> Callable[[], object]:
    """ONNX Runtime's U8 x S8 product of [M, K] and a constant [K, N], `_CALLS` times."""
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.integers(-127, 128, (inner, columns), dtype=np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "gemm",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [weight],
    )
    session = observers.session(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), threads=threads
    )
    values = rng.integers(0, 256, (rows, inner), dtype=np.uint8)
    return lambda: [session.run(None, {"a": values}) for _ in range(_CALLS)]


def _products(proto: onnx.ModelProto) -> dict[tuple[int, int, int], int]:
    """(M, K, N) of every product for one photograph and how often it occurs: layers, convolutions, and attention by head."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    values = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}  # the batch axis counts as one
    weights = {t.name: list(t.dims) for t in proto.graph.initializer}
    found: Counter[tuple[int, int, int]] = Counter()
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            channels, *kernel = weights[node.input[1]]
            found[math.prod(shapes[node.output[0]][2:]), math.prod(kernel), channels // groups] += groups
        elif node.op_type == "MatMul" and node.input[1] in weights:
            inner, columns = weights[node.input[1]]
            found[math.prod(shapes[node.output[0]][:-1]), inner, columns] += 1
        elif node.op_type == "Attention":
            tokens, width = shapes[node.input[0]][1:]
            heads = next(a.i for a in node.attribute if a.name == "q_num_heads")
            found[tokens, width // heads, tokens] += heads
            found[tokens, tokens, width // heads] += heads
    return dict(found)


def _variants(
    built: Any, names: tuple[str, ...], cases: list[Case]
) -> tuple[dict[str, dict[str, onnx.ModelProto]], list[dict[str, Any]]]:
    """Graphs by kind and name, and the schemes that were measured for the INT8 ones."""
    exact = {name: export_graph(built.model, built.config, name) for name in names}
    feeds = Feeds(exact, cases, ALL_SUBSETS[-1:])
    quantised: dict[str, onnx.ModelProto] = {}
    schemes: list[dict[str, Any]] = []
    for name in names:
        plan, measured = calibrate.plan_graph(name, exact[name], feeds.of(name), reduce_range=True, static_only=False)
        schemes += [dataclasses.asdict(scheme) for scheme in measured]
        quantised[name] = int8.to_int8(exact[name], plan)
    half = {name: store_half(proto) for name, proto in exact.items()}
    transformer = built.model.image.family.is_transformer
    dynamic = {"image": int8.to_int8(exact["image"], GraphPlan(mode=Mode.DYNAMIC))} if transformer else {}
    return {"fp32": exact, "fp16": half, "int8": quantised, "dynamic": dynamic}, schemes


def _keep(folder: Path, variants: dict[str, dict[str, onnx.ModelProto]], schemes: list[dict[str, Any]]) -> None:
    for kind, protos in variants.items():
        (folder / kind).mkdir(parents=True)
        for name, proto in protos.items():
            onnx.save(proto, folder / kind / f"{name}.onnx")
    (folder / "schemes.json").write_text(json.dumps(schemes), encoding="utf-8")


def _kept(folder: Path) -> tuple[dict[str, dict[str, onnx.ModelProto]], list[dict[str, Any]]]:
    kinds = ("fp32", "fp16", "int8", "dynamic")
    variants = {kind: {path.stem: onnx.load(path) for path in (folder / kind).glob("*.onnx")} for kind in kinds}
    return variants, json.loads((folder / "schemes.json").read_text(encoding="utf-8"))


def _busy_s() -> float:
    """Seconds of processor time that all processes of this machine have used, idle and waiting for disks left out."""
    fields = [int(value) for value in Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    app()
