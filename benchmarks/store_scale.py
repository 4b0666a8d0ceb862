"""The archive at scale: bulk load, index build, latency and recall of top-10, plain and filtered, and what gRPC adds to it.

    python benchmarks/store_scale.py --n 1000000 --bundle BUNDLE --json benchmarks/results/store_scale.json
    python benchmarks/store_scale.py --n 50000                                            # a minute, without the server
    python benchmarks/store_scale.py --n 1000000 --folder DIR --phase load --json FILE    # one phase a call, FILE is added to

Vectors are `edge_vectors.ClusteredVectors`, queries fresh draws from them, none of them stored. With `--bundle` the collection
is of that bundle's space, and a real `foveal serve` answers on the same folder in the phase `serve`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_vectors import DIM, EDGE, Array, ClusteredVectors
from foveal_runtime.store import Archive, AttributeEquals, Column, Entry, Equals, Filter, StoreOptions
from runtime_load import start_server

KIND = "image"
PHASES = ("load", "build", "query", "insert", "serve")
FILTERS: dict[str, Filter | None] = {
    "unfiltered": None,
    "filter_50_percent": Equals(Column.EYE, "left"),
    "filter_20_percent": Equals(Column.ICDR, 3),
    "filter_5_percent": Equals(Column.SITE, "site-3"),
    "filter_1_percent": Equals(Column.CAMERA, "camera-7"),
    "filter_0.01_percent": AttributeEquals("rare", "77"),
}


def items_from(vectors: Array, first: int) -> list[Entry]:
    """Entries whose facts give filters of known selectivity: camera 1 %, attribute `rare` 0.01 %, eye 50 %."""
    return [
        Entry(
            id=f"{first + i:09d}",
            vectors={KIND: v},
            patient=f"p{(first + i) // 4}",
            eye=("left", "right")[(first + i) % 2],
            camera=f"camera-{(first + i) * 7919 % 100}",
            site=f"site-{(first + i) % 20}",
            icdr=(first + i) % 5,
            source=f"images/{first + i}.jpg",
            attributes={"rare": str((first + i) * 104_729 % 10_000)},
        )
        for i, v in enumerate(vectors)
    ]


async def timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Milliseconds and the result."""
    began = time.perf_counter()
    result = await work()
    return (time.perf_counter() - began) * 1e3, result


def quantiles(times_ms: list[float]) -> dict[str, float]:
    """p50 and p99."""
    return {f"p{q}_ms": round(float(np.percentile(times_ms, q)), 2) for q in (50, 99)}


def memory_mb(pid: int | str = "self") -> float:
    """Resident memory of a process alone, so without PostgreSQL's."""
    with Path(f"/proc/{pid}/statm").open() as file:
        return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


async def load(archive: Archive, args: argparse.Namespace) -> dict[str, Any]:
    """Upsert everything; the clock runs inside `upsert` alone."""
    source = ClusteredVectors(EDGE, seed=args.seed)
    spent, done, rss = 0.0, 0, []
    while done < args.n:
        size = min(args.batch, args.n - done)
        items = items_from(source.draw(size), done)
        ms, _ = await timed(lambda items=items: archive.upsert(items))  # type: ignore[misc]
        spent, done = spent + ms / 1e3, done + size
        rss.append(memory_mb())
        print(f"\r{done:>9} loaded, {done / spent:,.0f} a second", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {"load_s": round(spent, 1), "load_per_s": round(args.n / spent), "client_memory_mb_first_last": [rss[0], rss[-1]]}


async def build(archive: Archive, args: argparse.Namespace) -> dict[str, Any]:
    """Every index that is due."""
    ms, _ = await timed(archive.build_indexes)
    return {"build_s": round(ms / 1e3, 1)}


async def query(archive: Archive, args: argparse.Namespace) -> dict[str, Any]:
    """Latency of `search`, recall against the exact answer, whether results were complete."""
    queries = fresh(args)
    found: dict[str, Any] = {}
    for name, chosen in FILTERS.items():
        if args.only and name not in args.only:
            continue
        subset = queries if chosen is None else queries[: max(100, args.queries // 5)]
        found[name] = await latency_and_recall(archive, subset, chosen, args.truths)
        print(name, found[name], file=sys.stderr)
    return found


def fresh(args: argparse.Namespace) -> Array:
    """Queries of the same mixture: axes and centres follow from the seed, the draws from where its generator stands."""
    source = ClusteredVectors(EDGE, seed=args.seed)
    source.reseed(args.seed + 1)
    return source.draw(args.queries)


async def latency_and_recall(archive: Archive, queries: Array, chosen: Filter | None, truths: int) -> dict[str, Any]:
    """One filter, k = 10."""
    times, results = [], []
    for q in queries[: 100 if chosen is not None else len(queries)]:
        await archive.search(q, kind=KIND, filter=chosen)  # warm: pages come from the file cache afterwards
    for q in queries:
        ms, result = await timed(lambda q=q: archive.search(q, kind=KIND, filter=chosen))  # type: ignore[misc]
        times.append(ms)
        results.append(result)
    # By id, not by score: a tie costs recall here, as it does in most papers.
    shares, exact_ms = [], []
    for q, result in zip(queries[:truths], results, strict=False):
        ms, truth = await timed(lambda q=q: archive.search(q, kind=KIND, filter=chosen, exact=True))  # type: ignore[misc]
        exact_ms.append(ms)
        shares.append(len({h.id for h in truth.hits} & {h.id for h in result.hits}) / max(1, len(truth.hits)))
    return {
        **quantiles(times),
        "recall": round(float(np.mean(shares)), 4),
        "recall_worst": round(min(shares), 2),
        "truths": len(shares),
        "results_min": min(len(r.hits) for r in results),
        "answered_exactly": sum(r.exact for r in results) / len(results),
        "exact_p50_ms": quantiles(exact_ms)["p50_ms"],
        "queries": len(queries),
    }


async def insert(archive: Archive, args: argparse.Namespace) -> dict[str, Any]:
    """Into a collection that has its index already; taken out again."""
    items = items_from(fresh(args)[:500], args.n)
    ms, _ = await timed(lambda: archive.upsert(items))
    await archive.delete([item.id for item in items])
    return {"insert_into_index_per_s": round(len(items) / ms * 1e3)}


async def serve(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A real server on the folder: search through gRPC in turn with the bare SQL, and the server's own memory."""
    import psycopg

    from foveal_runtime._proto import archive_pb2, screening_pb2
    from foveal_runtime.client import Client
    from foveal_runtime.store import rows
    from foveal_runtime.store.database import Database
    from foveal_runtime.store.filter import compile_filter
    from foveal_runtime.store.schema import find_collection

    process, address, _ = start_server(args.bundle, ["--store", str(folder)])
    try:
        with Client(address) as client:
            at_start = memory_mb(process.pid)
            space_id = client.model().model.space_id
            database = await Database.open(folder, StoreOptions(maintain=False), attach=True)
            collection = await database.run(lambda c: find_collection(c, "default"))
            assert collection is not None
            bare_ms, grpc_ms = [], []
            async with await psycopg.AsyncConnection.connect(database.app_conninfo, autocommit=True) as connection:
                await database.prepared.configure(connection)
                for turn, q in enumerate(np.concatenate([fresh(args)[:200], fresh(args)])):
                    statement, params = rows.index_search(collection.tables, KIND, q, compile_filter(None), 10, False)

                    async def ask(statement: str = statement, params: tuple[object, ...] = params) -> None:
                        cursor = await connection.execute(statement, params, binary=True)
                        await cursor.fetchall()

                    request = archive_pb2.SearchRequest(
                        vector=screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=q.tolist()), k=10, space_id=space_id
                    )
                    began = time.perf_counter()
                    client.search(request)
                    through = (time.perf_counter() - began) * 1e3
                    ms, _ = await timed(ask)
                    if turn >= 200:  # what comes before warms caches
                        grpc_ms.append(through)
                        bare_ms.append(ms)
            await database.close()
            after = memory_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return {
        "vectors": args.n,
        "bare_sql": quantiles(bare_ms),
        "through_grpc": quantiles(grpc_ms),
        "added_p50_ms": round(float(np.percentile(grpc_ms, 50) - np.percentile(bare_ms, 50)), 2),
        "queries": len(grpc_ms),
        "server_memory_mb_start_after": [at_start, after],
    }


async def run(args: argparse.Namespace, folder: Path, report: dict[str, Any]) -> None:
    """The phases that were asked for, into the report."""
    space_id = "b" * 64
    if args.bundle is not None:
        from foveal_runtime.bundle.bundle import Bundle

        space_id = Bundle.open(args.bundle).manifest.space_id
    options = StoreOptions(maintain=False, ef_search=args.ef_search, statement_timeout_s=600)
    phases = [phase for phase in PHASES if phase in (args.phase or PHASES)]
    inside = {"load": load, "build": build, "query": query, "insert": insert}
    if any(phase in inside for phase in phases):
        archive = await Archive.open(folder, space_id=space_id, dim=DIM, options=options)
        try:
            for phase in phases:
                if phase in inside:
                    load_average = round(os.getloadavg()[0], 1)
                    report[phase] = {**await inside[phase](archive, args), "load_average_before": load_average}
            stats = await archive.stats()
            report["bytes_on_disk"] = stats.bytes_on_disk
            report["indexed"] = stats.indexed[KIND]
        finally:
            await archive.close()
    if "load" in report and "build" in report:
        report["load_with_index_per_s"] = round(args.n / (report["load"]["load_s"] + report["build"]["build_s"]))
    if "serve" in phases and args.bundle is not None:
        report.setdefault("serve", []).append(await serve(args, folder))


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="vectors")
    parser.add_argument("--batch", type=int, default=10_000, help="items in one upsert")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--truths", type=int, default=200, help="queries whose exact answer is computed as well")
    parser.add_argument("--ef-search", type=int, default=StoreOptions().ef_search)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--folder", type=Path, help="store folder, kept; a temporary one when left out")
    parser.add_argument("--phase", action="append", choices=PHASES, help="may be repeated; default all")
    parser.add_argument("--only", action="append", choices=tuple(FILTERS), help="filters of the phase query; default all")
    parser.add_argument("--bundle", type=Path, help="for the phase serve")
    parser.add_argument("--json", type=Path, help="write the report here as well; one that is there is added to")
    args = parser.parse_args()
    report: dict[str, Any] = json.loads(args.json.read_text()) if args.json is not None and args.json.exists() else {}
    report |= {
        "n": args.n,
        "dim": DIM,
        "seed": args.seed,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "ef_search": args.ef_search,
    }
    parent = None
    if args.folder is None:
        parent = Path(tempfile.mkdtemp(prefix="foveal-bench-"))
        parent.chmod(0o711)  # PostgreSQL's user must get through
    try:
        asyncio.run(run(args, args.folder or parent / "store", report))  # type: ignore[operator]
    finally:
        if parent is not None:
            shutil.rmtree(parent, ignore_errors=True)
    text = json.dumps(report, indent=1)
    print(text)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
