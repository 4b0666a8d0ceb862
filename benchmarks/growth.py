"""How time grows with batch, resolution, note, collection and callers: points, fitted curves, residuals, plots, sizing.

    foveal compile models/edge
    python benchmarks/growth.py models/edge examples/photographs --work DIR --plots DIR --json benchmarks/results/growth.json
    python benchmarks/growth.py models/edge examples/photographs --only batch,resolution,note --repeat 3         # a minute

- *batch*: milliseconds of the graphs for so many photographs in a call, one thread;
- *resolution*: milliseconds from a JPEG's bytes to the network's input, a photograph of so many pixels;
- *note*: milliseconds of the text graph for so many tokens;
- *collection*: an archive of so many vectors: load, index build, p50 of a search by the index and of an exact one, disk;
- *callers*: closed loops against a real server: answers a second, p50 and p99, refusals;
- *sizing*: screenings an hour by cores: measured where this machine has the cores (the server held to them, a worker each),
  computed by Amdahl's law through those points elsewhere, and marked so. A serial share that two cores hardly show is uncertain
  at sixty-four: the linear bound stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import store_scale
from curves import Fit, better, draw, linear, saturating
from edge_vectors import DIM
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import Prepared, VectorKind
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.race import in_turns
from foveal_runtime.store import Archive, StoreOptions
from foveal_runtime.study.study import Modality, Study
from runtime_load import load_photographs, report, start_server
from sizing import closed_loops, ended, sizing


def opened(bundle: Path, most: int = 64) -> Engine:
    """The bundle in this process, one thread."""
    found = Bundle.open(bundle)
    return Engine(found, threads=1, max_rows=most, compiled=find_compiled(found, "cpu"))


def fitted(x: Sequence[float], y: Sequence[float], fit: Callable[..., Fit] = better) -> dict[str, Any] | None:
    """A curve as a document; None of fewer than three points, through which any goes."""
    return fit(x, y).document() if len(x) >= 3 else None


def batch(args: argparse.Namespace) -> dict[str, Any]:
    engine = opened(args.bundle)
    photographs = load_photographs(args.photographs, 32)
    prepared = [engine.prepare(Study(image=photograph)) for photograph in photographs]
    works = {
        size: (
            lambda size=size: engine.run(
                [prepared[i % len(prepared)] for i in range(size)], kinds=frozenset({VectorKind.JOINT})
            )
        )
        for size in args.batches
    }
    ms = in_turns(works, args.repeat)
    return _curve(args, "batch", "photographs in a call", "ms of a call", list(ms), list(ms.values()), linear)


def resolution(args: argparse.Namespace) -> dict[str, Any]:
    engine = opened(args.bundle)
    works = {}
    for side, data in ((side, resized(load_photographs(args.photographs, 1)[0], side)) for side in args.sides):
        works[side] = lambda data=data: engine.prepare(Study(image=data))
    ms = in_turns(works, args.repeat)
    pixels = [side**2 / 1e6 for side in ms]
    return _curve(args, "resolution", "megapixels", "ms to the network's input", pixels, list(ms.values()), linear)


def resized(photograph: bytes, side: int) -> bytes:
    """The photograph as a JPEG of side x side."""
    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(photograph)) as image:
        image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS).save(target, "JPEG", quality=92)
    return target.getvalue()


def note(args: argparse.Namespace) -> dict[str, Any]:
    engine = opened(args.text_bundle or args.bundle)
    if Modality.TEXT.value not in engine.manifest.graphs:
        return {"skipped": f"{engine.bundle.path.name} reads no notes; give --text-bundle"}
    prepared: dict[int, Prepared] = {}
    for words in args.words:
        one = engine.prepare(Study(note=" ".join(["retinopathy is present"] * words)))
        assert one.ids_T is not None
        prepared.setdefault(len(one.ids_T), one)  # longer ones are cut alike
    works = {
        tokens: (lambda one=one: engine.run([one], kinds=frozenset({VectorKind.TEXT}), grade=False))
        for tokens, one in prepared.items()
    }
    ms = in_turns(works, args.repeat)
    return _curve(args, "note", "tokens", "ms", list(ms), list(ms.values()), linear)


def collection(args: argparse.Namespace) -> dict[str, Any]:
    """Each size in a folder of its own."""
    rows = []
    for n in args.collections:
        folder = args.work / f"collection-{n}"
        rows.append({"n": n, **asyncio.run(one_collection(args, n, folder))})
        shutil.rmtree(folder)
        print(rows[-1], file=sys.stderr, flush=True)
    indexed = [row for row in rows if row["indexed"]]
    series = {
        "search by the index, p50 ms": ([r["n"] for r in indexed], [r["p50_ms"] for r in indexed]),
        "exact search, p50 ms": ([r["n"] for r in rows], [r["exact_p50_ms"] for r in rows]),
        "index build, s": ([r["n"] for r in indexed], [r["build_s"] for r in indexed]),
        "disk, MB": ([r["n"] for r in rows], [r["disk_mb"] for r in rows]),
    }
    _draw(args, "collection", "vectors", "ms, s or MB", series, better)
    return {"rows": rows, "fits": {name: fitted(*points) for name, points in series.items()}}


async def one_collection(args: argparse.Namespace, n: int, folder: Path) -> dict[str, Any]:
    given = argparse.Namespace(n=n, batch=10_000, seed=args.seed, queries=args.queries, truths=args.truths, only=None)
    archive = await Archive.open(
        folder, space_id="b" * 64, dim=DIM, options=StoreOptions(maintain=False, statement_timeout_s=600)
    )
    try:
        loaded = await store_scale.load(archive, given)
        built = await store_scale.build(archive, given)
        asked = await store_scale.latency_and_recall(archive, store_scale.fresh(given), None, args.truths)
        stats = await archive.stats()
    finally:
        await archive.close()
    asked = {name: asked[name] for name in ("p50_ms", "p99_ms", "recall", "exact_p50_ms")}
    kept = {"indexed": stats.indexed[store_scale.KIND], "disk_mb": round(stats.bytes_on_disk / 1e6, 1)}
    return {"load_per_s": loaded["load_per_s"], **built, **asked, **kept}


def callers(args: argparse.Namespace) -> dict[str, Any]:
    """Rates of a server of the plan that `foveal compile` found, or of a worker for each core."""
    process, address, _ = start_server(args.bundle, [])
    try:
        rows = asyncio.run(closed_loops(args, address, args.callers))
    finally:
        ended(process)
    answered = [row for row in rows if row["p50_ms"]]
    x, rates = ([row[name] for row in answered] for name in ("callers", "per_s"))
    times = {f"{name}, ms": (x, [row[f"{name}_ms"] for row in answered]) for name in ("p50", "p99")}
    _draw(args, "callers", "callers", "answers a second, or ms", {"answers a second": (x, rates), **times}, better)
    return {
        "rows": rows,
        "fits": {name: fitted(*points) for name, points in times.items()} | {"rate": fitted(x, rates, _level)},
    }


def _level(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Rates level off, unless noise hides it."""
    try:
        return saturating(x, y)
    except ValueError:
        return better(x, y)


def _curve(
    args: argparse.Namespace, name: str, x: str, y: str, xs: list[float], ys: list[float], fit: Callable[..., Fit]
) -> dict[str, Any]:
    """Points, both fits, the picture of one."""
    _draw(args, name, x, y, {y: (xs, ys)}, fit)
    power_slope = fitted(xs, ys, better)
    points = [{x: round(a, 4), y: round(b, 3)} for a, b in zip(xs, ys, strict=True)]
    return {"rows": points, "fits": {fit.__name__: fitted(xs, ys, fit), "closest": power_slope}}


def _draw(
    args: argparse.Namespace, name: str, x: str, y: str, series: dict[str, tuple[list[Any], list[Any]]], fit: Callable[..., Fit]
) -> None:
    if args.plots is not None:
        drawn = {label: (xs, ys, fit(xs, ys) if len(xs) >= 3 else None) for label, (xs, ys) in series.items() if xs}
        draw(args.plots / f"growth-{name}.svg", drawn, x=x, y=y)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "batch": batch, "resolution": resolution, "note": note, "collection": collection, "callers": callers, "sizing": sizing,
}  # fmt: skip


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> int:
    """Measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--text-bundle", type=Path, help="that reads notes, when the bundle does not")
    parser.add_argument("--batches", type=_numbers, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--sides", type=_numbers, default=[256, 512, 1024, 1536, 2048, 3072, 4096])
    parser.add_argument("--words", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64], help="times three words of a note")
    parser.add_argument("--collections", type=_numbers, default=[1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000])
    parser.add_argument("--callers", type=_numbers, default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--truths", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=15, help="rounds of batch, resolution and note")
    parser.add_argument("--turns", type=int, default=5, help="of sizing")
    parser.add_argument("--seconds", type=float, default=10, help="of each number of callers")
    parser.add_argument("--photographs-per-screening", type=int, default=4, help="two eyes, two fields each")
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--work", type=Path, help="folder for archives; a temporary one when left out")
    parser.add_argument("--plots", type=Path, help="folder for SVGs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if unknown := set(args.only) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    result: dict[str, Any] = {"bundle": args.bundle.name, "cores": len(os.sched_getaffinity(0))}
    with ExitStack() as stack:
        if args.work is None:
            args.work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foveal-growth-")))
        args.work.mkdir(parents=True, exist_ok=True)
        args.work.chmod(0o711)  # PostgreSQL's user must get through
        for name in args.only:
            began, load = time.perf_counter(), round(os.getloadavg()[0], 1)
            result[name] = PARTS[name](args)
            result[name] |= {"minutes": round((time.perf_counter() - began) / 60, 1), "load_average_before": load}
            print(
                name, {key: value for key, value in result[name].items() if key != "rates_per_s"}, file=sys.stderr, flush=True
            )
    report(result, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
