"""Does the gate refuse harm and let noise pass? Harms planted in every block and head of a bundle, each judged by `verify`.

    python benchmarks/planted_harms.py RUN BUNDLE --data brset:PATH --json benchmarks/results/planted_harms.json

PATH holds studies that RUN never saw, of all grades (`foveal data synth PATH --patients 330 --balanced`, images renamed, since
names tell two data sets apart). Each harm is one change of a copy of BUNDLE: weights of a block scaled, two output rows of a
block or head swapped, a temperature, a threshold, a constant of the normalisation. What a harm does is measured against
PyTorch on the same studies: the fall of kappa and of the sensitivity at the served operating point, the rise of the calibration
error. Harmful is a loss of 0.03 or more of any. Harmless is a change of less than 0.005, up or down, of all three and of the
vectors' mean cosine, against the bundle as it was exported; what lies between is listed and counts for neither.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import onnx
from cyclopts import Parameter
from onnx import numpy_helper

from foveal_export.verify import Report, Verifier
from foveal_train.model.blocks import block_of
from foveal_train.runs.run import write_json
from foveal_train.training.progress import ProgressReporter

app = cyclopts.App(help=__doc__)
HARMFUL, HARMLESS = 0.03, 0.005
_SCALES = (0.5, 0.9, 0.998)

Change = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """One change of a bundle."""

    name: str
    kind: str
    change: Change


def _manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, and bring the hashes of the graphs up to date."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["checksum"] = ""
    change(manifest)
    for graph in manifest["graphs"].values():
        graph["sha256"] = hashlib.sha256((folder / graph["file"]).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest), encoding="utf-8")


def _tensor(graph: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(folder: Path) -> None:
        proto = onnx.load(folder / f"{graph}.onnx")
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        old = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(old).astype(old.dtype), name))
        (folder / f"{graph}.onnx").write_bytes(proto.SerializeToString())
        _manifest(folder, lambda manifest: None)

    return apply


def _weights(proto: onnx.ModelProto) -> Iterator[tuple[str, str, str]]:
    """(block, tensor that scales its weights, tensor of its weights) of every quantised product, one a block, then of heads."""
    weights = {t.name: t for t in proto.graph.initializer}
    seen: set[str] = set()
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear" or not node.input[0].endswith(".weight.s8"):
            continue
        block = block_of(node.input[0].removesuffix(".weight.s8"))
        if block not in seen and node.input[1] in weights:
            seen.add(block)
            yield block, node.input[1], node.input[0]


def _swapped(first: int, second: int, axis: int) -> Callable[[np.ndarray], np.ndarray]:
    def swap(values: np.ndarray) -> np.ndarray:
        found = values.copy()
        order = np.arange(values.shape[axis])
        order[[first, second]] = order[[second, first]]
        return found.take(order, axis=axis)

    return swap


def harms(bundle: Path) -> list[Harm]:
    """Every harm of a bundle, in a fixed order."""
    found = []
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for graph in manifest["graphs"]:
        proto = onnx.load(bundle / f"{graph}.onnx")
        for block, scale, weight in _weights(proto):
            for factor in _SCALES:
                change = _tensor(graph, scale, partial(np.multiply, factor))
                found.append(Harm(name=f"{graph}.{block} x {factor:g}", kind="scale", change=change))
            rank = next(len(t.dims) for t in proto.graph.initializer if t.name == weight)
            rows = _tensor(graph, weight, _swapped(0, 1, 0 if rank == 4 else rank - 1))
            found.append(Harm(name=f"{graph}.{block} rows 0, 1 swapped", kind="rows", change=rows))
        for tensor in proto.graph.initializer:
            is_head = graph == "fusion" and tensor.dims and tensor.dims[-1] == 5 and "icdr" in tensor.name
            if is_head and not tensor.name.endswith(".zero"):
                for pair in ((0, 1), (1, 2), (0, 4)):
                    change = _tensor(graph, tensor.name, _swapped(*pair, len(tensor.dims) - 1))
                    found.append(Harm(name=f"{tensor.name}: grades {pair} swapped", kind="head", change=change))
    for factor in (0.4, 0.7, 0.98, 1.02, 1.5, 3.0):

        def temper(folder: Path, factor: float = factor) -> None:
            def change(manifest: dict[str, Any]) -> None:
                for entry in manifest["calibration"].values():
                    entry["temperature"] = {head: t * factor for head, t in entry["temperature"].items()}

            _manifest(folder, change)

        found.append(Harm(name=f"temperature x {factor:g}", kind="temperature", change=temper))
    for step in (-0.2, -0.003, 0.003, 0.1, 0.2, 0.4):

        def move(folder: Path, step: float = step) -> None:
            def change(manifest: dict[str, Any]) -> None:
                for entry in manifest["calibration"].values():
                    for point in entry["operating_points"]:
                        point["threshold"] = float(np.clip(point["threshold"] + step, 0, 1))

            _manifest(folder, change)

        found.append(Harm(name=f"threshold {step:+g}", kind="threshold", change=move))
    for key, factor in (("std", 0.5), ("std", 0.998), ("std", 1.5), ("mean", 0.5), ("mean", 1.002), ("mean", 1.3)):

        def normalise(folder: Path, key: str = key, factor: float = factor) -> None:
            _manifest(folder, lambda m: m["image"].update({key: [value * factor for value in m["image"][key]]}))

        found.append(Harm(name=f"{key} x {factor:g}", kind="normalisation", change=normalise))
    return found


def effect(report: Report) -> dict[str, float]:
    """The worst of every loss over subsets and heads, against PyTorch on the same studies."""
    heads = [head for part in report.parts.values() for head in part.heads.values()]
    decided = [part.referable for part in report.parts.values() if part.referable is not None]
    return {
        "kappa": max(head.kappa.loss for head in heads if head.kappa is not None),
        "sensitivity": max(part.sensitivity.loss for part in decided if part.sensitivity is not None),
        "calibration": max(
            head.expected_calibration_error.loss for head in heads if head.expected_calibration_error is not None
        ),
        "vectors": max(1 - vector.mean_cosine for part in report.parts.values() for vector in part.vectors.values()),
    }


@app.default
def main(
    run: Path,
    bundle: Path,
    /,
    *,
    data: str,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Plant and judge.

    Args:
        run: the run of the bundle.
        bundle: an INT8 bundle that passes.
        data: studies that the run never saw.
        json_: write every harm with its effect and verdict to this file.
    """
    rows: list[dict[str, Any]] = []
    with ProgressReporter(1) as reporter, tempfile.TemporaryDirectory() as scratch:
        verifier = Verifier(run, (data,), reporter)
        clean = verifier.verify(bundle)
        for number, harm in enumerate(planned := harms(bundle)):
            folder = Path(scratch) / "bundle"
            shutil.copytree(bundle, folder)
            harm.change(folder)
            report = verifier.verify(folder)
            shutil.rmtree(folder)
            found = effect(report)
            rows.append(
                {
                    "harm": harm.name,
                    "kind": harm.kind,
                    **found,
                    "refused": bool(report.failures),
                    "named": [f"{f.subset}: {f.quantity}" for f in report.failures][:3],
                }
            )
            reporter.progress(number + 1, len(planned))
    studies = sum(part.studies for part in clean.parts.values())
    unharmed = effect(clean)
    harmful = [row for row in rows if max(row["kappa"], row["sensitivity"], row["calibration"]) >= HARMFUL]
    harmless = [row for row in rows if all(abs(row[key] - value) < HARMLESS for key, value in unharmed.items())]
    summary = {
        "answers": studies,
        "clean": {"refused": bool(clean.failures), **unharmed},
        "harms": len(rows),
        "harmful": len(harmful),
        "harmful_refused": sum(row["refused"] for row in harmful),
        "harmless": len(harmless),
        "harmless_refused": sum(row["refused"] for row in harmless),
        "rows": rows,
    }
    if json_ is not None:
        write_json(json_, summary)
    print(f"{studies} answers; {len(rows)} harms: {len(harmful)} harmful, {summary['harmful_refused']} of them refused;")
    print(f"{len(harmless)} harmless, {summary['harmless_refused']} of them refused")
    for row in rows:
        if row in harmful and not row["refused"]:
            print("not refused:", {key: row[key] for key in ("harm", "kappa", "sensitivity", "calibration")})
        if row in harmless and row["refused"]:
            print("refused without harm:", row["harm"], row["named"])


if __name__ == "__main__":
    app()
