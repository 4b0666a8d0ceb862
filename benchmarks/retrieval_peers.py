"""foveal's archive against FAISS, USearch, Qdrant, LanceDB and Milvus Lite: recall and latency, filters, load, and kill -9.

    python benchmarks/retrieval_peers.py --n 1000000 --work DIR --json benchmarks/results/retrieval_peers.json
    python benchmarks/retrieval_peers.py --n 1000 --queries 10 --turns 2 --kills 1 --peers foveal,qdrant-edge,faiss-hnsw

Each peer runs in a process and an environment of its own (peers_retrieval/NAME/requirements.txt, made on the first run below
`--environments`), configured as its documentation advises; `settings` in the result says how. Vectors are those of
`edge_vectors.ClusteredVectors`, queries fresh draws. All peers hold the same rows and are open at the same time; in each turn
they are asked in drawn order, one query after the other, at every effort (ef, nprobe), until `--point-s` has passed. Recall is
that of ids against exact comparison in FP32. A peer's *p50 at recall 0.98* is the least of its points that reach it; ratios are
of the same turn.

*kill -9*: a writer that acknowledges batches is killed with all its children in the middle of a load, and its folder is opened
again (peers_retrieval/kills.py). The file cache outlives a process: that says nothing of a power cut.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge_vectors import DIM, EDGE, ClusteredVectors
from lines import ChildError
from peers_retrieval.kills import kill_rounds
from peers_retrieval.neighbours import nearest, passing, recall
from peers_retrieval.process import CONTENDERS, Contender, PeerProcess
from processes import memory_mb
from runtime_load import report
from spread import ratio

K = 10
RECALL = 0.98
OURS = "foveal"
GRADES = (0.55, 0.1, 0.2, 0.1, 0.05)
SITES = 20
FILTERS: dict[str, dict[str, int]] = {
    "unfiltered": {},
    "grade, 10 percent": {"grade": 3},
    "site, 5 percent": {"site": 7},
    "grade and site, 0.5 percent": {"grade": 3, "site": 7},
}
_ROWS = 100_000


def make(folder: Path, n: int, queries: int, seed: int) -> dict[str, str]:
    """Write vectors, facts (grade, site) and queries, unless they are there. Returns the files by name."""
    files = {name: folder / f"{name}-{n}-{queries}-{seed}.npy" for name in ("vectors", "facts", "queries")}
    if not all(file.exists() for file in files.values()):
        source, rng = ClusteredVectors(EDGE, seed=seed), np.random.default_rng(seed)
        vectors_ND = np.lib.format.open_memmap(files["vectors"], "w+", np.float32, (n, DIM))
        for start in range(0, n, _ROWS):
            vectors_ND[start : start + _ROWS] = source.draw(min(_ROWS, n - start))
        vectors_ND.flush()
        facts_N2 = np.stack([rng.choice(len(GRADES), n, p=GRADES), rng.integers(0, SITES, n)], axis=1)
        np.save(files["facts"], facts_N2.astype(np.int16))
        source.reseed(seed + 1)
        np.save(files["queries"], source.draw(queries))
    return {name: str(file) for name, file in files.items()}


def filled(process: PeerProcess, files: dict[str, str], n: int, batch: int, folder: Path) -> dict[str, Any]:
    """Load and index; rates, disk."""
    opened = process.ask("open")
    loaded = process.ask("load", vectors=files["vectors"], facts=files["facts"], first=0, count=n, batch=batch, save=False)[
        "seconds"
    ]
    built = process.ask("build")["seconds"]
    return {
        **{name: opened[name] for name in ("version", "settings", "durable", "efforts")},
        "rows": n,
        "load_per_s": round(n / loaded),
        "build_s": round(built, 2),
        "load_with_index_per_s": round(n / (loaded + built)),
        "disk_mb": disk_mb(folder),
    }


def disk_mb(folder: Path) -> float:
    """Blocks that a folder's files take."""
    return round(sum(file.lstat().st_blocks * 512 for file in folder.rglob("*")) / 1e6, 1)


def curves(
    processes: dict[str, PeerProcess],
    rows: dict[str, dict[str, Any]],
    truths: dict[tuple[str, int], Any],
    queries: str,
    args: argparse.Namespace,
) -> None:
    """Ask every peer at every effort in turns; recall, and p50 and p99 of each turn, into `rows[name]["curves"]`."""
    rng, out = random.Random(args.seed), str(args.work / "found.npy")
    for turn in range(-1, args.turns):
        names = list(processes)
        rng.shuffle(names)
        for name in names:
            try:
                one_turn(processes[name], rows[name], truths, turn, queries, out, args.point_s)
            except ChildError as error:
                rows[name] |= {"error": str(error), "curves": {}}
                del processes[name]
        print(f"turn {turn + 1} of {args.turns}", file=sys.stderr, flush=True)
    for name, process in processes.items():
        rows[name]["memory"] = memory_mb(process.pid)
        for filter_name, points in rows[name]["curves"].items():
            for point in points.values():
                point |= {f"p{q}_ms": statistics.median(point[f"p{q}_turns_ms"]) for q in (50, 99)}
            rows[name]["curves"][filter_name] = list(points.values())


def one_turn(
    process: PeerProcess,
    row: dict[str, Any],
    truths: dict[tuple[str, int], Any],
    turn: int,
    queries: str,
    out: str,
    most_s: float,
) -> None:
    """One peer at every effort and filter; turn -1 warms caches and gives recall."""
    asked = {filter_: where for filter_, where in FILTERS.items() if not where or process.contender.filters}
    for (filter_, where), effort in itertools.product(asked.items(), row["efforts"]):
        points = row.setdefault("curves", {}).setdefault(filter_, {})
        ms = process.ask("search", queries=queries, k=K, effort=effort, where=where, most_s=most_s, out=out)["ms"]
        if turn < 0:
            share = recall(truths[filter_, row["rows"]][: len(ms)], np.load(out))
            points[effort] = {
                "effort": effort, "recall": round(share, 4), "queries": len(ms), "p50_turns_ms": [], "p99_turns_ms": [],
            }  # fmt: skip
            continue
        for quantile in (50, 99):
            points[effort][f"p{quantile}_turns_ms"].append(round(float(np.percentile(ms, quantile)), 4))


def at_recall(points: Iterable[dict[str, Any]], wanted: float) -> dict[str, Any] | None:
    """The fastest point that reaches a recall; None when none does."""
    return min((point for point in points if point["recall"] >= wanted), key=lambda p: p["p50_ms"], default=None)


def verdict(rows: dict[str, dict[str, Any]], n: int) -> dict[str, Any]:
    """foveal's p50 at the wanted recall over that of each other that reaches it with all rows, and of the best database that
    survives."""
    found: dict[str, Any] = {}
    for filter_name in FILTERS:
        reached = {name: at_recall(row.get("curves", {}).get(filter_name, ()), RECALL) for name, row in rows.items()}
        points = {name: point for name, point in reached.items() if point is not None and rows[name]["rows"] == n}
        ours = points.pop(OURS, None)
        if ours is None:
            continue
        against = {
            name: {"p50_ms": point["p50_ms"], **ratio(ours["p50_turns_ms"], point["p50_turns_ms"])}
            for name, point in points.items()
        }
        databases = [name for name in points if CONTENDERS[name].database and rows[name].get("kill", {}).get("survives")]
        best = min(databases, key=lambda name: float(points[name]["p50_ms"]), default=None)
        found[filter_name] = {
            "foveal_p50_ms": ours["p50_ms"],
            "foveal_recall": ours["recall"],
            "ratio_to": against,
            "best_database_that_survives": best,
            "ratio_to_best": None if best is None else against[best],
            "met": None if best is None else against[best]["median"] <= 1.0,
        }
    return found


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Recall and p50 of every peer, unfiltered."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, row in rows.items():
        points = sorted(row.get("curves", {}).get("unfiltered", ()), key=lambda p: p["recall"])
        axes.plot([p["recall"] for p in points], [p["p50_ms"] for p in points], marker="o", label=name)
    axes.set(xlabel=f"recall@{K}", ylabel="p50, ms", yscale="log")
    axes.axvline(RECALL, linewidth=0.8, color="grey")
    axes.legend()
    axes.grid(visible=True, linewidth=0.3)
    figure.savefig(path)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for."""
    chosen = [CONTENDERS[name] for name in args.peers]
    files = make(args.work, args.n, args.queries, args.seed)
    rows: dict[str, dict[str, Any]] = {}
    cores = len(os.sched_getaffinity(0))

    def start(contender: Contender, data: Path) -> PeerProcess:
        return PeerProcess(contender, data, DIM, environments=args.environments, cores=cores)

    for contender in chosen if args.kills else ():
        folder = args.work / f"kill-{contender.name}"
        folder.mkdir(mode=0o711)
        try:
            killed = kill_rounds(
                lambda data, contender=contender: start(contender, data),  # type: ignore[misc]
                folder, vectors=Path(files["vectors"]), facts=Path(files["facts"]), kills=args.kills,
                before=min(args.kill_before, args.n // 2, (contender.most_rows or args.n) // 20),
                batch=min(args.kill_batch, args.n // 20), rng=random.Random(args.seed),
            )  # fmt: skip
        except ChildError as error:
            killed = {"error": str(error), "survives": False}
        rows.setdefault(contender.name, {})["kill"] = killed
        print(contender.name, {name: value for name, value in killed.items() if name != "rounds"}, file=sys.stderr, flush=True)
        shutil.rmtree(folder)
    with ExitStack() as stack:
        processes = {}
        for contender in chosen if args.turns else ():
            n, folder = min(args.n, contender.most_rows or args.n), args.work / contender.name
            process = stack.enter_context(start(contender, folder))
            row = rows.setdefault(contender.name, {})
            try:
                row |= filled(process, files, n, args.batch, folder)
                processes[contender.name] = process
            except ChildError as error:
                row |= {"rows": 0, "error": str(error)}
            print(
                contender.name,
                {name: row.get(name) for name in ("load_per_s", "build_s", "error")},
                file=sys.stderr,
                flush=True,
            )
        curves(
            processes,
            rows,
            true_neighbours(files, {row["rows"] for row in rows.values() if row.get("rows")}),
            files["queries"],
            args,
        )
    return {
        "n": args.n, "dim": DIM, "k": K, "queries": args.queries, "turns": args.turns, "seed": args.seed, "cores": cores,
        "load_average": round(os.getloadavg()[0], 1), "filters": FILTERS, "verdict": verdict(rows, args.n), "peers": rows,
    }  # fmt: skip


def true_neighbours(files: dict[str, str], sizes: set[int]) -> dict[tuple[str, int], Any]:
    """Ids of the exact answers by filter and number of rows."""
    vectors_ND, facts_N2, queries_QD = (np.load(files[name], mmap_mode="r") for name in ("vectors", "facts", "queries"))
    return {
        (name, n): nearest(queries_QD, vectors_ND[:n], passing(facts_N2[:n], where), K)[0]
        for name, where in FILTERS.items()
        for n in sizes
    }


def main() -> int:
    """Measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5_000, help="vectors")
    parser.add_argument("--queries", type=int, default=200, help="at each effort and filter, in each turn")
    parser.add_argument("--point-s", type=float, default=60, help="after which an effort and filter gets no more queries")
    parser.add_argument("--turns", type=int, default=5, help="0 leaves recall and latency out")
    parser.add_argument("--kills", type=int, default=5, help="of each peer; 0 leaves them out")
    parser.add_argument("--batch", type=int, default=10_000, help="rows of a write of the load")
    parser.add_argument("--kill-before", type=int, default=50_000, help="rows that are there before the writer begins")
    parser.add_argument("--kill-batch", type=int, default=500, help="rows of a write that is acknowledged before a kill")
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(CONTENDERS), help="NAME,NAME; default all")
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--work", type=Path, help="folder for vectors and data; a temporary one when left out")
    parser.add_argument("--environments", type=Path, help="folder of the peers' environments; WORK/environments when left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="SVG of recall and latency")
    args = parser.parse_args()
    unknown = set(args.peers) - CONTENDERS.keys()
    if unknown:
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    with ExitStack() as stack:
        if args.work is None:
            args.work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foveal-peers-")))
        args.work.mkdir(parents=True, exist_ok=True)
        args.work.chmod(0o711)  # PostgreSQL's user must get through
        args.environments = args.environments or args.work / "environments"
        for contender in CONTENDERS.values():  # of a run that was ended
            for name in (contender.name, f"kill-{contender.name}"):
                shutil.rmtree(args.work / name, ignore_errors=True)
        found = measure(args)
        for contender in CONTENDERS.values():
            shutil.rmtree(args.work / contender.name, ignore_errors=True)
    if args.plot is not None and args.turns:
        plot(found["peers"], args.plot)
    report(found, args.json)
    print(json.dumps(found["verdict"], indent=1), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
