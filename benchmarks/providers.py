"""OpenVINO against ONNX Runtime's own kernels: the same weights, the same parity gate, in turns in one process.

    python benchmarks/providers.py BUNDLE [BUNDLE ...] --json benchmarks/results/providers.json

Each INT8 bundle is measured as it is and with its Q/DQ pairs folded away (FP32, the same weights). Golden studies are replayed
through both providers, and the graphs are timed on those that have a photograph, one or two in a call, with one thread in a
graph call. Figures are processor time, medians over rounds in which the providers take turns.

Where the plugin takes this processor it is compiled and opened as `foveal compile` does; where it does not (it lists Intel's
alone) the package `openvino`, the same library, runs the same graphs through its own API.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from foveal_runtime.bundle.bundle import Bundle, sha256_file
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.bundle.manifest import Precision
from foveal_runtime.engine.choice import FASTER
from foveal_runtime.engine.compiler import compile_bundle
from foveal_runtime.engine.device import device_facts
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.plugins import lacks
from foveal_runtime.engine.providers import Provider, openvino_options
from foveal_runtime.engine.race import race
from foveal_runtime.engine.selftest import self_test
from foveal_runtime.engine.session import GraphSession
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Modality

_THREADS = 1
"""In a graph call: processor time of several says nothing of how long they take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FOVEAL_CACHE"] = f"{scratch}/cache"
        for number, path in enumerate(given.bundles):
            bundle = Bundle.open(path)
            rows += measured(bundle, bundle.manifest.precision.value, given.rounds, given.studies)
            if bundle.manifest.precision is Precision.INT8:
                folded = Bundle.open(in_float(bundle, Path(scratch) / str(number)))
                rows += measured(folded, "fp32, the same weights", given.rounds, given.studies)
    document = {
        "command": "benchmarks/providers.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": device_facts("openvino"),
        "through": "the plugin"
        if not lacks(Provider.OPENVINO)
        else f"openvino {importlib.metadata.version('openvino')}'s own API",
        "rows": rows,
    }
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def measured(bundle: Bundle, precision: str, rounds: int, studies: int) -> list[dict[str, Any]]:
    """Rows of one bundle, printed as they come."""
    rows = []
    golden = [study for study in read_golden(bundle).studies if Modality.IMAGE in study.modalities][:studies]
    engines, parity = {}, {}
    for provider in (Provider.CPU, Provider.OPENVINO):
        try:
            engine = opened(bundle, provider, _THREADS)
            report = self_test(engine)
        except FovealError as error:
            parity[provider.value] = f"refused: {error}"
            continue
        parity[provider.value] = ("within tolerance: " if report.passed else "OUT OF TOLERANCE: ") + report.summary()
        if report.passed:
            engines[provider] = engine
    for batch in (1, 2):
        prepared = [next(iter(engines.values())).prepare(study) for study in golden] if engines else []
        ms = race(engines, prepared, rounds=rounds, batch=batch) if engines else {}
        own = ms.get(Provider.CPU)
        ratio = own / ms[Provider.OPENVINO] if own and Provider.OPENVINO in ms else None
        row = {
            "bundle": f"{bundle.manifest.profile} {precision}",
            "batch": batch,
            "parity": parity,
            "ms_per_study": {provider.value: round(value, 2) for provider, value in ms.items()},
            "openvino_as_fast": None if ratio is None else round(ratio, 2),
            "chosen": "openvino" if ratio is not None and ratio >= FASTER else "cpu",
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def opened(bundle: Bundle, provider: Provider, threads: int) -> Engine:
    """An engine as it would serve; through OpenVINO's own API where its plugin does not take this processor."""
    if provider is not Provider.OPENVINO or not lacks(provider):
        compiled, _ = compile_bundle(bundle, provider, threads=threads)
        return Engine(bundle, provider=provider, threads=threads, compiled=compiled)
    engine = Engine(bundle, provider=Provider.CPU, threads=threads)
    engine._sessions = {
        name: GraphSession(
            name=name,
            one_at_a_time=own.one_at_a_time,
            _session=Direct(bundle.graph_path(name), threads),
            _outputs=tuple(tensor.name for tensor in bundle.manifest.graphs[name].outputs),
        )
        for name, own in engine._sessions.items()
    }
    return engine


class Direct:
    """A graph in OpenVINO's own API, called as a session of ONNX Runtime."""

    def __init__(self, path: Path, threads: int) -> None:
        import openvino

        settings = json.loads(openvino_options(threads)["load_config"])["CPU"]
        self._request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        self._request.infer(feeds)
        return [self._request.get_tensor(name).data.copy() for name in names]


def in_float(bundle: Bundle, folder: Path) -> Path:
    """The bundle with FP32 graphs of the same weights: constants dequantised, pairs around activations taken out."""
    shutil.copytree(bundle.path, folder)
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    document |= {"precision": "fp32", "checksum": ""}
    for graph in document["graphs"].values():
        path = folder / graph["file"]
        onnx.save(unquantised(onnx.load(path)), path)
        graph |= {"sha256": sha256_file(path), "bytes": path.stat().st_size, "one_at_a_time": False}
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def unquantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without QuantizeLinear, DequantizeLinear and, of dynamic INT8, DynamicQuantizeLinear and MatMulInteger."""
    constants = {each.name: each for each in model.graph.initializer}
    kept, made = [], []
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            made.append(numpy_helper.from_array(dequantised([constants[i] for i in node.input if i], axis), node.output[0]))
        elif node.op_type == "QuantizeLinear" and (most := largest(*(constants[i] for i in node.input[1:]))) is not None:
            # A range from 0 on is the activation function too: quantising took its Clip out.
            bounds = [f"{node.output[0]}_{end}" for end in ("least", "most")]
            made += [numpy_helper.from_array(np.array(v, np.float32), b) for v, b in zip((0, most), bounds, strict=True)]
            source = renamed.get(node.input[0], node.input[0])
            kept.append(onnx.helper.make_node("Clip", [source, *bounds], [node.output[0]], name=f"{node.name}_clip"))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        elif node.op_type == "DynamicQuantizeLinear":
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
            made.append(numpy_helper.from_array(np.array(1.0, np.float32), node.output[1]))
        elif node.op_type == "MatMulInteger":
            weight, zero = (numpy_helper.to_array(constants[node.input[place]]).astype(np.float32) for place in (1, 3))
            made.append(numpy_helper.from_array(weight - zero, f"{node.output[0]}_weight"))
            kept.append(onnx.helper.make_node("MatMul", [node.input[0], made[-1].name], node.output, name=node.name))
        else:
            kept.append(node)
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    assert not {output.name for output in model.graph.output} & renamed.keys()
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    left = [each for each in (*model.graph.initializer, *made) if each.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)
    return model


def largest(scale: onnx.TensorProto, zero: onnx.TensorProto) -> float | None:
    """The upper end of a range that begins at 0; None of another."""
    zeros = numpy_helper.to_array(zero)
    limits = np.iinfo(zeros.dtype)
    if zeros.size != 1 or zeros.item() != limits.min:
        return None
    return float(numpy_helper.to_array(scale).item() * (int(limits.max) - int(limits.min)))


def dequantised(parts: list[onnx.TensorProto], axis: int) -> Any:
    """(q - zero) * scale, along an axis where there are several scales."""
    values, scale, *rest = (numpy_helper.to_array(part) for part in parts)
    zero = rest[0] if rest else np.zeros_like(scale)
    if scale.ndim:
        shape = [-1 if place == axis else 1 for place in range(values.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return (values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)


if __name__ == "__main__":
    main()
