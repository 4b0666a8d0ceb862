"""One image graph quantised by foveal and five other tools: error on held-out photographs, bytes, time.

    python benchmarks/int8_tools.py dump RUN BUNDLE FOLDER         # here; a BUNDLE of RUN with --variants int8,fp32
    python benchmarks/int8_tools.py quantise nncf FOLDER           # each in an environment of its own: nncf, onnx
    python benchmarks/int8_tools.py quantise nncf-control FOLDER   # with its accuracy control
    python benchmarks/int8_tools.py quantise modelopt FOLDER       # nvidia-modelopt[onnx]
    python benchmarks/int8_tools.py quantise modelopt-kept FOLDER  # the convolutions in floating point that foveal keeps there
    python benchmarks/int8_tools.py quantise optimum FOLDER        # here
    python benchmarks/int8_tools.py quantise olive FOLDER          # olive-ai over this environment
    python benchmarks/int8_tools.py compare FOLDER...              # here again
    python benchmarks/int8_tools.py judge RUN BUNDLE FOLDER        # BUNDLE with each graph in its image graph's place

Calibration sees training photographs, NNCF's accuracy control validation photographs, the comparison those that the run held
out. Errors are those of exact sums (what a processor with VNNI computes), times this processor's. The judge holds every graph
to the budget of the bundle, on the photographs that the run held out, behind temperatures fitted to its own answers.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ort_quantisers import with_olive, with_optimum

INPUT = "pixels_BCHW"
PARTS = ("calibration", "validation", "held_out")
DROP = 0.005
"""Of the mean cosine of tokens, that NNCF's accuracy control may lose."""
ROUNDS = 25
ORT_TOOLS = {"optimum": with_optimum, "olive": with_olive}


def dump(run_path: Path, bundle: Path, folder: Path) -> None:
    """Write what the tools read, and foveal's own graphs out of a bundle of the run."""
    from foveal_export.planning import CALIBRATION_LIMIT
    from foveal_export.studies import cases
    from foveal_export.studies.feeds import encoder_feed
    from foveal_runtime.study.study import Modality
    from foveal_train.runs.reference import Reference
    from foveal_train.runs.run import Run

    run = Run.open(run_path)
    reference, chosen = Reference(run.model, run.tokenizer_json, run.info), cases.choose(run, None)
    folder.mkdir(parents=True, exist_ok=True)
    for part, samples in zip(PARTS, (chosen.calibration, chosen.validation, chosen.parity), strict=True):
        taken = cases.sampled(samples, CALIBRATION_LIMIT) if part == "calibration" else samples
        prepared = cases.prepare(reference, taken, frozenset({Modality.IMAGE}))
        np.save(folder / f"{part}.npy", np.concatenate([encoder_feed(c.prepared, Modality.IMAGE)[INPUT] for c in prepared]))
    for name, file in (("fp32", "image.fp32.onnx"), ("foveal-7bit", "image.onnx"), ("foveal-8bit", "image.int8.onnx")):
        shutil.copy(bundle / file, folder / f"{name}.onnx")


def quantise(tool: str, folder: Path) -> None:
    """Let another tool quantise the FP32 graph."""
    calibration = np.load(folder / "calibration.npy")
    if tool in ORT_TOOLS:
        ORT_TOOLS[tool](folder / "fp32.onnx", calibration, INPUT, folder / f"{tool}.onnx")
        return
    if tool.startswith("modelopt"):
        from modelopt.onnx.quantization import quantize

        kept = _float_convolutions(onnx.load(folder / "foveal-8bit.onnx")) if tool == "modelopt-kept" else []

        quantize(
            str(folder / "fp32.onnx"),
            quantize_mode="int8",
            calibration_data={INPUT: calibration},
            calibration_method="entropy",
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",  # its FP16, the default, is for GPUs: ONNX Runtime widens it on a processor
            nodes_to_exclude=[re.escape(name) for name in kept],
            output_path=str(folder / f"{tool}.onnx"),
        )
        return
    import nncf

    model = onnx.load(folder / "fp32.onnx")
    data = nncf.Dataset([{INPUT: image[None]} for image in calibration])
    common: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(calibration)}
    if tool == "nncf":
        made = nncf.quantize(model, data, **common)
    else:
        seen = np.load(folder / "validation.npy")
        expected = _tokens(model, seen)

        def agreement(candidate: onnx.ModelProto, images: Sequence[Any]) -> tuple[float, list[float]]:
            found = _tokens(candidate, np.concatenate([image[INPUT] for image in images]))
            cosines = [_cosine(a, b) for a, b in zip(expected, found, strict=False)]
            return statistics.mean(cosines), cosines

        made = nncf.quantize_with_accuracy_control(
            model, data, nncf.Dataset([{INPUT: image[None]} for image in seen]), agreement, max_drop=DROP, **common
        )
    onnx.save(made, folder / f"{tool}.onnx")


def compare(folder: Path) -> dict[str, dict[str, float]]:
    """Error, bytes and milliseconds of processor time of every graph in a folder; times in turns."""
    from foveal_runtime.engine.race import in_turns

    images = np.load(folder / "held_out.npy")
    files = sorted(folder.glob("*.onnx"), key=lambda path: path.stem != "fp32")
    expected = _tokens(onnx.load(files[0]), images)
    rows = np.concatenate(expected)
    spread = float(np.linalg.norm(rows - rows.mean(axis=0)))
    sessions = {path.stem: _session(onnx.load(path), exact=False) for path in files}
    runs = {name: partial(each.run, None, {INPUT: images[:1]}) for name, each in sessions.items()}
    ms = in_turns(runs, ROUNDS, time.process_time)
    found = {}
    for path in files:
        model = onnx.load(path)
        got = _tokens(model, images)
        cosines = [_cosine(a, b) for a, b in zip(expected, got, strict=True)]
        found[path.stem] = {
            "relative_error": float(np.linalg.norm(rows - np.concatenate(got))) / spread,
            "mean_cosine": statistics.mean(cosines),
            "least_cosine": min(cosines),
            "mb": path.stat().st_size / 1e6,
            "ms": ms[path.stem],
            "float_convolutions": len(_float_convolutions(model)),
        }
    return found


def judge(run_path: Path, bundle: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Which limits of the bundle's budget it misses with each graph of a folder in its image graph's place."""
    from foveal_export.parity import assess
    from foveal_export.parity.budget import budget_of
    from foveal_export.parity.refit import refit
    from foveal_export.parity.verdict import failures
    from foveal_export.studies import cases
    from foveal_export.verify import Verifier
    from foveal_runtime.bundle.bundle import Bundle, sha256_file
    from foveal_runtime.engine.engine import Engine
    from foveal_train.runs.reporter import Silent
    from foveal_train.runs.run import Run

    verifier, validation = Verifier(run_path, (), Silent()), cases.choose(Run.open(run_path), None).validation
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "bundle"
            shutil.copytree(bundle, copy)
            shutil.copy(path, copy / "image.onnx")
            document = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
            document["graphs"]["image"] |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            document["checksum"] = ""
            (copy / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
            opened = Bundle.open(copy)
            engine, budget = Engine(opened, exact=True), budget_of(opened.manifest.tolerances)
            calibration = refit(engine, verifier.info, validation).calibration
            answers = assess.ask_engine(engine, verifier.info, verifier.checks)
        served = (verifier.info.calibration, calibration)
        parts = assess.compare_all(verifier.expected, answers, verifier.checks, served, budget.tie_margin)
        missed = failures(parts, budget, evidence=opened.manifest.evidence, dependence=0.0)
        vectors = [vector for part in parts.values() for vector in part.vectors.values()]
        found[path.stem] = {
            "missed": [str(failure) for failure in missed],
            "least_cosine": min(vector.min_cosine for vector in vectors),
            "mean_cosine": min(vector.mean_cosine for vector in vectors),
            "icdr_flips": sum(part.heads["icdr"].flips for part in parts.values()),
        }
        print(json.dumps({path.stem: found[path.stem]}), flush=True)
    return found


def _float_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of convolutions whose weights or inputs are not read through a DequantizeLinear."""
    quantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return [node.name for node in model.graph.node if node.op_type == "Conv" and not set(node.input[:2]) <= quantised]


def _session(model: onnx.ModelProto, *, exact: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _tokens(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = _session(model, exact=True)
    return [session.run(None, {INPUT: image[None]})[0][0] for image in images]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    dumping = kinds.add_parser("dump")
    dumping.add_argument("run", type=Path)
    dumping.add_argument("bundle", type=Path)
    dumping.add_argument("folder", type=Path)
    quantising = kinds.add_parser("quantise")
    quantising.add_argument("tool", choices=("nncf", "nncf-control", "modelopt", "modelopt-kept", *ORT_TOOLS))
    quantising.add_argument("folder", type=Path)
    judging = kinds.add_parser("judge")
    for place in ("run", "bundle", "folder"):
        judging.add_argument(place, type=Path)
    kinds.add_parser("compare").add_argument("folders", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.kind == "dump":
        dump(asked.run, asked.bundle, asked.folder)
    elif asked.kind == "quantise":
        quantise(asked.tool, asked.folder)
    elif asked.kind == "judge":
        judge(asked.run, asked.bundle, asked.folder)
    else:
        print(json.dumps({folder.name: compare(folder) for folder in asked.folders}, indent=1))


if __name__ == "__main__":
    main()
