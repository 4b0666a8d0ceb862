"""The store at scale: bulk load, index build, latency and recall of top-10, plain and filtered, on the embedded PostgreSQL.

    python benchmarks/store_scale.py --n 1000000 --json benchmarks/results/store_scale.json
    python benchmarks/store_scale.py --n 50000                      # a minute

Vectors are drawn from a mixture of clusters, see `ClusteredVectors`; queries are fresh draws from it, none of them stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.store import Archive, Column, Equals, Filter, Item, StoreOptions
from foveal_runtime.store.filter import AttributeEquals

DIM = 256
KIND = "image"
Array = npt.NDArray[np.float32]


class ClusteredVectors:
    """Draws unit vectors from a mixture whose cluster sizes fall off like a power law.

    By default clusters overlap in a latent space of 32 dimensions with a falling spectrum, plus a little noise in all 256: a
    space of low effective dimension without gaps. `isolated` gives each cluster a narrow subspace of its own, far from the
    others (median cosine to the nearest of a million vectors 0.92, between clusters about 0): the hard case for a graph index,
    since a search that enters the wrong cluster finds no edge out of it.
    """

    LATENT = 32

    def __init__(self, *, clusters: int, seed: int, isolated: bool = False) -> None:
        self._rng = np.random.default_rng(seed)
        self._isolated = isolated
        weights = 1.0 / np.arange(1, clusters + 1) ** 0.7
        self._weights = weights / weights.sum()
        if isolated:
            basis = self._rng.normal(size=(48, DIM))
            self._centres = self._rng.normal(size=(clusters, 48)) @ basis / np.sqrt(48 * DIM)
            self._spread = self._rng.normal(size=(clusters, 8, DIM)).astype(np.float32) / np.sqrt(8 * DIM)
        else:
            self._basis = np.linalg.qr(self._rng.normal(size=(DIM, self.LATENT)))[0].T
            self._scale = np.arange(1, self.LATENT + 1) ** -0.5
            self._centres = self._rng.normal(size=(clusters, self.LATENT)) * self._scale

    def draw(self, n: int) -> Array:
        """`n` unit vectors, float32 [n, DIM]."""
        which = self._rng.choice(len(self._weights), size=n, p=self._weights)
        if self._isolated:
            inner = self._rng.normal(size=(n, 8)).astype(np.float32)
            x = self._centres[which] + 0.55 * np.einsum("nk,nkd->nd", inner, self._spread[which])
            x += 0.25 * self._rng.normal(size=(n, DIM)) / np.sqrt(DIM)
        else:
            latent = self._centres[which] + 0.6 * self._scale * self._rng.normal(size=(n, self.LATENT))
            x = latent @ self._basis + 0.2 * self._rng.normal(size=(n, DIM)) / np.sqrt(DIM)
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


def items_from(vectors: Array, first: int) -> list[Item]:
    """Items whose facts give filters of known selectivity: camera 1 %, attribute `rare` 0.01 %, eye 50 %."""
    return [
        Item(
            id=f"{first + i:09d}",
            kind=KIND,
            vector=v,
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


async def latency_and_recall(archive: Archive, queries: Array, k: int, chosen: Filter | None, truths: int) -> dict[str, Any]:
    """p50 and p99 of `search`, recall against the exact answer, whether results were complete."""
    times, results = [], []
    for q in queries[:20]:
        await archive.search(q, kind=KIND, k=k, filter=chosen)  # warm
    for q in queries:
        ms, result = await timed(lambda q=q: archive.search(q, kind=KIND, k=k, filter=chosen))  # type: ignore[misc]
        times.append(ms)
        results.append(result)
    # By id, not by score: a tie costs recall here, as it does in most papers.
    found = wanted = 0
    exact_ms = []
    for q, result in zip(queries[:truths], results, strict=False):
        ms, truth = await timed(lambda q=q: archive.search(q, kind=KIND, k=k, filter=chosen, exact=True))  # type: ignore[misc]
        exact_ms.append(ms)
        wanted += len(truth.hits)
        found += len({h.id for h in truth.hits} & {h.id for h in result.hits})
    return {
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
        "recall": round(found / max(1, wanted), 4),
        "results_min": min(len(r.hits) for r in results),
        "answered_exactly": sum(r.exact for r in results) / len(results),
        "exact_p50_ms": round(float(np.percentile(exact_ms, 50)), 1),
        "queries": len(queries),
    }


def memory_mb() -> float:
    """Resident memory of this process, PostgreSQL's own left out."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole benchmark."""
    report: dict[str, Any] = {
        "n": args.n,
        "dim": DIM,
        "seed": args.seed,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "ef_search": args.ef_search,
        "vectors": "isolated clusters" if args.isolated else "overlapping clusters",
        "load_average": os.getloadavg()[0],
    }
    options = StoreOptions(maintain=False, ef_search=args.ef_search, statement_timeout_s=600)
    archive = await Archive.open(folder, space_id="b" * 64, dim=DIM, options=options)
    try:
        source = ClusteredVectors(clusters=2000, seed=args.seed, isolated=args.isolated)
        spent, done, rss = 0.0, 0, []
        while done < args.n:
            size = min(args.batch, args.n - done)
            items = items_from(source.draw(size), done)
            ms, _ = await timed(lambda items=items: archive.upsert(items))  # type: ignore[misc]
            spent, done = spent + ms / 1e3, done + size
            rss.append(memory_mb())
            print(f"\r{done:>9} loaded, {done / spent:,.0f} a second", end="", file=sys.stderr)
        report["load_per_s"] = round(args.n / spent)
        report["client_memory_mb_first_last"] = [round(rss[0]), round(rss[-1])]
        print("\nbuilding indexes", file=sys.stderr)
        build_ms, _ = await timed(archive.build_indexes)
        report["build_s"] = round(build_ms / 1e3, 1)
        report["load_with_index_per_s"] = round(args.n / (spent + build_ms / 1e3))
        stats = await archive.stats()
        report["bytes_on_disk"] = stats.bytes_on_disk
        assert stats.indexed[KIND] or args.n < options.index_from_rows
        queries = source.draw(args.queries)
        filters: dict[str, Filter | None] = {
            "unfiltered": None,
            "filter_50_percent": Equals(Column.EYE, "left"),
            "filter_20_percent": Equals(Column.ICDR, 3),
            "filter_5_percent": Equals(Column.SITE, "site-3"),
            "filter_1_percent": Equals(Column.CAMERA, "camera-7"),
            "filter_0.01_percent": AttributeEquals("rare", "77"),
        }
        for name, chosen in filters.items():
            subset = queries if chosen is None else queries[: max(100, args.queries // 5)]
            report[name] = await latency_and_recall(archive, subset, 10, chosen, args.truths)
            print(name, report[name], file=sys.stderr)
        single = items_from(source.draw(500), args.n)
        ms, _ = await timed(lambda: archive.upsert(single))
        report["insert_into_index_per_s"] = round(500 / ms * 1e3)
        report["search_overhead_ms_p50"] = await overhead(archive, queries)
    finally:
        began = time.perf_counter()
        await archive.close()
        report["close_s"] = round(time.perf_counter() - began, 1)
    return report


async def overhead(archive: Archive, queries: Array) -> float:
    """What `Archive.search` adds to the bare SQL on a connection of its own, in milliseconds at p50."""
    import psycopg

    from foveal_runtime.store import rows, vectors
    from foveal_runtime.store.filter import compile_filter

    database = archive._database
    bare, full = [], []
    async with await psycopg.AsyncConnection.connect(database.app_conninfo, autocommit=True) as connection:
        await database._configure(connection)
        vectors.register(connection, database.halfvec_oid)
        table = archive._collection.table(KIND)
        for q in queries[:300]:
            statement, params = rows.index_search(table, q, compile_filter(None), 10, False)

            async def ask(statement: str = statement, params: tuple[object, ...] = params) -> None:
                cursor = await connection.execute(statement, params, binary=True)  # type: ignore[arg-type]
                await cursor.fetchall()

            bare.append((await timed(ask))[0])
            full.append((await timed(lambda q=q: archive.search(q, kind=KIND, k=10)))[0])  # type: ignore[misc]
    return round(float(np.percentile(full, 50) - np.percentile(bare, 50)), 3)


def main() -> None:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="vectors")
    parser.add_argument("--batch", type=int, default=10_000, help="items in one upsert")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--truths", type=int, default=200, help="queries whose exact answer is computed as well")
    parser.add_argument("--ef-search", type=int, default=StoreOptions().ef_search)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--isolated", action="store_true", help="clusters far apart: the hard case for a graph index")
    parser.add_argument("--folder", type=Path, help="store folder; a temporary one on disk when left out")
    parser.add_argument("--json", type=Path, help="write the report here as well")
    args = parser.parse_args()
    parent = None
    if args.folder is None:
        parent = Path(tempfile.mkdtemp(prefix="foveal-bench-"))
        parent.chmod(0o711)
    try:
        report = asyncio.run(run(args, args.folder or parent / "store"))  # type: ignore[operator]
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
