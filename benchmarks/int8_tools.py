"""One image graph quantised by foveal, by NNCF and by NVIDIA's ModelOpt: error on held-out photographs, bytes, time.

    python benchmarks/int8_tools.py dump RUN BUNDLE FOLDER         # here; a BUNDLE of RUN with --variants int8,fp32
    python benchmarks/int8_tools.py quantise nncf FOLDER           # each in an environment of its own: nncf, onnx
    python benchmarks/int8_tools.py quantise nncf-control FOLDER   # with its accuracy control
    python benchmarks/int8_tools.py quantise modelopt FOLDER       # nvidia-modelopt[onnx]
    python benchmarks/int8_tools.py compare FOLDER...              # here again

Calibration sees training photographs, NNCF's accuracy control validation photographs, the comparison those that the run held
out. Errors are those of exact sums (what a processor with VNNI computes), times this processor's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

INPUT = "pixels_BCHW"
PARTS = ("calibration", "validation", "held_out")
DROP = 0.005
"""Of the mean cosine of tokens, that NNCF's accuracy control may lose."""
ROUNDS = 25


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
    if tool == "modelopt":
        from modelopt.onnx.quantization import quantize

        quantize(
            str(folder / "fp32.onnx"),
            quantize_mode="int8",
            calibration_data={INPUT: calibration},
            calibration_method="entropy",
            calibration_eps=["cpu"],
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
            "least_cosine": min(cosines),
            "mb": path.stat().st_size / 1e6,
            "ms": ms[path.stem],
            "float_convolutions": _float_convolutions(model),
        }
    return found


def _float_convolutions(model: onnx.ModelProto) -> int:
    """Convolutions whose weights or inputs are not read through a DequantizeLinear."""
    quantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "Conv" and not set(node.input[:2]) <= quantised for node in model.graph.node)


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
    quantising.add_argument("tool", choices=("nncf", "nncf-control", "modelopt"))
    quantising.add_argument("folder", type=Path)
    kinds.add_parser("compare").add_argument("folders", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.kind == "dump":
        dump(asked.run, asked.bundle, asked.folder)
    elif asked.kind == "quantise":
        quantise(asked.tool, asked.folder)
    else:
        print(json.dumps({folder.name: compare(folder) for folder in asked.folders}, indent=1))


if __name__ == "__main__":
    main()
