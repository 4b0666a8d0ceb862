"""A bundle's image graph and its whole photograph path in every engine for processors: time, agreement, share of the GEMM rate.

    python benchmarks/engines.py RUN BUNDLE examples/photographs --work DIR --json benchmarks/results/engines_edge.json
    python benchmarks/engines.py RUN BUNDLE examples/photographs --work DIR --threads 1 --turns 2 --tools optimum    # minutes

FP32: PyTorch eager and compiled (Inductor), ONNX Runtime and OpenVINO on the graph that foveal exported. INT8: the graphs that
foveal serves, and those that the quantisers of optimum-onnx, NNCF and Olive make of the FP32 graph with the same training
photographs (int8_tools.py; NNCF's also in OpenVINO, for which it is made). Each engine is a process with so many threads; they
take turns in drawn order, and ratios are of the same turn. *Agreement* is that of the image graph's tokens with PyTorch's in
FP32, on the photographs that are given and on those that the run held out: by the first another INT8 graph counts as equal
where its error is no more than 1.05 of foveal's. The GEMM rate is the best of PyTorch's and ONNX Runtime's products of square
matrices in the same turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

import int8_tools
from environments import python_of
from export_speed import _products
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.engine import Engine
from foveal_runtime.serving.memory import WORKER_MALLOC
from foveal_runtime.study.study import Study
from lines import ChildError, LineProcess
from runtime_load import report
from spread import ratio

HERE = Path(__file__).resolve().parent
TOOLS = ("optimum", "nncf", "olive")
FP32, INT8 = "fp32", "int8"
PHOTOGRAPH = "photograph"
EQUAL = 1.05
"""Of foveal's relative error, up to which another INT8 graph is its equal."""
SIDE = 1024
"""Of the matrices whose products give the GEMM rate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One engine on one graph."""

    name: str
    engine: str
    """Of engine_runner.py."""
    precision: str
    graph: str = ""
    """File in the work folder without its ending, for engines that read one."""
    tool: str = ""
    """That made the graph."""
    ours: bool = False


CONTENDERS = (
    Contender(name="foveal INT8, as served", engine="served", precision=INT8, ours=True),
    Contender(name="foveal FP32, ONNX Runtime", engine="onnxruntime", precision=FP32, graph="fp32", ours=True),
    Contender(name="PyTorch eager", engine="torch", precision=FP32),
    Contender(name="torch.compile", engine="torch-compile", precision=FP32),
    Contender(name="OpenVINO FP32", engine="openvino", precision=FP32, graph="fp32"),
    Contender(name="foveal INT8, OpenVINO", engine="openvino", precision=INT8, graph="foveal-8bit"),
    Contender(name="optimum INT8, ONNX Runtime", engine="onnxruntime", precision=INT8, graph="optimum", tool="optimum"),
    Contender(name="Olive INT8, ONNX Runtime", engine="onnxruntime", precision=INT8, graph="olive", tool="olive"),
    Contender(name="NNCF INT8, ONNX Runtime", engine="onnxruntime", precision=INT8, graph="nncf", tool="nncf"),
    Contender(name="NNCF INT8, OpenVINO", engine="openvino", precision=INT8, graph="nncf", tool="nncf"),
)
REFERENCE = "PyTorch eager"
GIVEN, HELD_OUT = "photographs", "held_out"


def made(args: argparse.Namespace) -> list[str]:
    """Graphs and photographs in the work folder; those that are there stay. Returns what could not be made and why."""
    if not args.bundle.exists():
        words = ("export", str(args.run), "--precision", "int8", "--variants", "int8,fp32", "--out", str(args.bundle))
        subprocess.run((sys.executable, "-m", "foveal_runtime.cli.main", *words), check=True, stdout=sys.stderr)
    if not (args.work / f"{HELD_OUT}.npy").exists():
        int8_tools.dump(args.run, args.bundle, args.work)
    engine = Engine(Bundle.open(args.bundle), threads=1)
    given = [engine.prepare(Study(image=file.read_bytes())).pixels_CHW for file in sorted(args.photographs.glob("*.jpg"))]
    np.save(args.work / f"{GIVEN}.npy", np.stack([pixels for pixels in given if pixels is not None]))
    failed = []
    for tool in args.tools:
        if (args.work / f"{tool}.onnx").exists():
            continue
        python = python_of(HERE / "peers_engines" / tool / "requirements.txt", args.environments, over=True)
        command = (str(python), str(HERE / "int8_tools.py"), "quantise", tool, str(args.work))
        with (args.work / f"{tool}.log").open("w") as log:
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
                failed.append(f"{tool}: {(args.work / f'{tool}.log').read_text().strip().splitlines()[-1][:300]}")
    return failed


def started(contender: Contender, args: argparse.Namespace, threads: int) -> LineProcess:
    """The engine's process."""
    over = contender.engine if contender.engine == "openvino" else "none"
    python = python_of(HERE / "peers_engines" / over / "requirements.txt", args.environments, over=True)
    files = {"run": args.run, "bundle": args.bundle, "fusion": args.fusion}
    if contender.graph:
        files["image"] = args.work / f"{contender.graph}.onnx"
    words = (f"{name}={file.resolve()}" for name, file in files.items())
    # All have a worker's memory: without it the system clears every page of a larger call's activations, and of photographs.
    environment = {**os.environ, **WORKER_MALLOC, "OMP_NUM_THREADS": str(threads)}
    return LineProcess(
        contender.name, (str(python), str(HERE / "engine_runner.py"), contender.engine, str(threads), *words), environment
    )


def agreement(expected_NTD: npt.NDArray[Any], found_NTD: npt.NDArray[Any]) -> dict[str, float]:
    """Of tokens with the reference's: error relative to their spread about the mean token, and cosines of whole photographs."""
    rows, others = (each.reshape(-1, each.shape[-1]).astype(np.float64) for each in (expected_NTD, found_NTD))
    spread = float(np.linalg.norm(rows - rows.mean(axis=0)))
    a, b = (each.reshape(len(each), -1).astype(np.float64) for each in (expected_NTD, found_NTD))
    cosines = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {
        "relative_error": round(float(np.linalg.norm(rows - others)) / spread, 6),
        "mean_cosine": round(float(cosines.mean()), 6),
        "least_cosine": round(float(cosines.min()), 6),
    }


def turns(contenders: Mapping[str, Contender], args: argparse.Namespace, threads: int) -> dict[str, dict[str, Any]]:
    """Every contender with so many threads: agreement, milliseconds of each turn, and the GEMM rate."""
    rng, rows = random.Random(0), dict[str, dict[str, Any]]()
    held_out, photographs = (
        str(args.work / f"{HELD_OUT}.npy"),
        [str(file.resolve()) for file in sorted(args.photographs.glob("*.jpg"))],
    )
    with ExitStack() as stack:
        processes: dict[str, LineProcess] = {}
        for name, contender in contenders.items():
            process = stack.enter_context(started(contender, args, threads))
            rows[name] = {"precision": contender.precision, "ours": contender.ours, "photograph": [], "graph": {}, "cpu": {}}
            try:
                for photos in (GIVEN, HELD_OUT):
                    pixels, out = (str(args.work / file) for file in (f"{photos}.npy", f"{name}.{photos}.npy"))
                    process.ask("tokens", pixels=pixels, out=out)
                process.ask("photograph", files=photographs[:1], repeat=1)
                for batch in args.batches:
                    process.ask("graph", pixels=held_out, batch=batch, repeat=2)
                processes[name] = process
            except ChildError as error:
                rows[name]["error"] = str(error)
            print(f"{threads} threads: {name} {rows[name].get('error', 'is ready')}", file=sys.stderr, flush=True)
        gemm = stack.enter_context(started(Contender(name="GEMM", engine="gemm", precision=""), args, threads))
        rates: list[dict[str, float]] = []
        for _ in range(args.turns):
            names = list(processes)
            rng.shuffle(names)
            rates.append(gemm.ask("gemm", side=SIDE, repeat=3)["gops"])
            for name, batch in itertools.product(names, args.batches):
                found = processes[name].ask("graph", pixels=held_out, batch=batch, repeat=args.repeat)
                rows[name]["graph"].setdefault(batch, []).append(statistics.median(found["ms"]) / batch)
                rows[name]["cpu"].setdefault(batch, []).append(statistics.median(found["cpu_ms"]) / batch)
            for name in names:
                found = processes[name].ask("photograph", files=photographs, repeat=1)
                rows[name]["photograph"].append(statistics.median(found["ms"]))
    for name in processes:
        pairs = {
            photos: [np.load(args.work / f"{each}.{photos}.npy") for each in (REFERENCE, name)] for photos in (GIVEN, HELD_OUT)
        }
        rows[name] |= {photos: agreement(*pair) for photos, pair in pairs.items()}
    best = {key: max(rate for each in rates for key_, rate in each.items() if key_ == key) for key in rates[0]}
    return {"engines": rows, "gemm_gops": {key: round(rate, 1) for key, rate in best.items()}}


def judged(rows: dict[str, dict[str, Any]], gemm_gops: dict[str, float], multiply_adds: int) -> dict[str, Any]:
    """Medians, shares of the GEMM rate, and how much faster foveal is than the best other at equal parity.

    Args:
        rows: of `turns`; medians and shares are put into them.
        gemm_gops: rates by `LIBRARY PRECISION`.
        multiply_adds: of the image graph for one photograph.
    """
    peak = {precision: max(rate for name, rate in gemm_gops.items() if name.endswith(precision)) for precision in (FP32, INT8)}
    whole = {name: row for name, row in rows.items() if "error" not in row}
    for row in whole.values():
        row["graph_ms"] = {batch: round(statistics.median(ms), 3) for batch, ms in row["graph"].items()}
        row["photograph_ms"] = round(statistics.median(row["photograph"]), 3)
        row["share_of_gemm"] = {
            batch: round(2 * multiply_adds / ms / 1e6 / peak[row["precision"]], 4) for batch, ms in row["graph_ms"].items()
        }
    found: dict[str, Any] = {}
    for name, ours in ((name, row) for name, row in whole.items() if row["ours"]):
        equal = {
            other: row
            for other, row in whole.items()
            if not row["ours"]
            and row["precision"] in ({FP32} if ours["precision"] == FP32 else {FP32, INT8})
            and (row["precision"] == FP32 or row[GIVEN]["relative_error"] <= EQUAL * ours[GIVEN]["relative_error"])
        }
        if not equal:
            continue
        found[name] = {"equals": sorted(equal)}
        for what in (*ours["graph"], PHOTOGRAPH):
            best = min(equal, key=lambda other: statistics.median(_times(equal[other], what)))
            as_fast = ratio(_times(equal[best], what), _times(ours, what))
            name_of = what if what == PHOTOGRAPH else f"graph, {what} a call"
            found[name][name_of] = {"best_other": best, "as_fast": as_fast, "met": as_fast["median"] >= 1.0}
    return found


def _times(row: dict[str, Any], what: int | str) -> list[float]:
    """Of each turn: the whole path, or the graph with so many photographs a call."""
    times: list[float] = row[PHOTOGRAPH] if what == PHOTOGRAPH else row["graph"][what]
    return times


def main() -> int:
    """Make, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path, help="of the run, with --variants int8,fp32; exported when it is missing")
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for graphs, kept: a second run measures alone")
    parser.add_argument("--environments", type=Path, help="folder of the tools' environments; WORK/environments when left out")
    parser.add_argument("--tools", type=lambda text: text.split(",") if text else [], default=list(TOOLS))
    parser.add_argument("--only", type=lambda text: text.split(","), help="engines of engine_runner.py; default all")
    parser.add_argument("--threads", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2])
    parser.add_argument("--batches", type=lambda text: [int(word) for word in text.split(",")], default=[1, 8])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=5, help="calls of each graph in a turn")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.environments = args.environments or args.work / "environments"
    exact = args.bundle / "fusion.fp32.onnx"
    args.fusion = exact if exact.exists() else args.bundle / "fusion.onnx"
    failed = made(args)
    contenders = {
        contender.name: contender
        for contender in CONTENDERS
        if (not contender.tool or (contender.tool in args.tools and (args.work / f"{contender.tool}.onnx").exists()))
        and (args.only is None or contender.engine in (*args.only, "served", "torch"))
    }
    multiply_adds = sum(
        np.prod(shape, dtype=int) * count for shape, count in _products(onnx.load(args.work / "fp32.onnx")).items()
    )
    result: dict[str, Any] = {
        "bundle": args.bundle.name, "cores": len(os.sched_getaffinity(0)), "load_average": round(os.getloadavg()[0], 1),
        "turns": args.turns, "image_multiply_adds": int(multiply_adds), "not_made": failed,
    }  # fmt: skip
    for threads in args.threads:
        found = turns(contenders, args, threads)
        verdict = judged(found["engines"], found["gemm_gops"], int(multiply_adds))
        result[f"{threads} threads"] = {"verdict": verdict, **found}
    report(result, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
