"""What a bundle serves on this machine: start, memory, throughput against the bare engine, latency at 70 %, overload at 300 %.

    python benchmarks/runtime_load.py BUNDLE PHOTOS --json benchmarks/results/runtime_load-edge-int8.json

The server is a real `foveal serve` process with its cache off; the caller is this process and shares the cores. Capacity is the
closed-loop rate of single-study calls; open-loop calls arrive at random (Poisson) times and carry a deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from foveal_runtime._proto import screening_pb2, screening_pb2_grpc
from foveal_runtime.bundle import Bundle
from foveal_runtime.engine import Engine
from foveal_runtime.messages import study_to
from foveal_runtime.study import Study


def load_photographs(folder: Path, count: int) -> list[bytes]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    return [file.read_bytes() for file in files[:: max(1, len(files) // count)][:count]]


def start_server(bundle: Path, flags: list[str]) -> tuple[subprocess.Popen[str], str, float]:
    command = [sys.executable, "-m", "foveal_runtime.cli.main", "serve", str(bundle), "--address", "127.0.0.1:0"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--cache-entries", "0", *flags], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r" on (\S+?)(,|$)", line.strip())
    if found is None:
        raise SystemExit(line + process.stderr.read())
    return process, found.group(1), time.perf_counter() - started


def processes_of(pid: int) -> list[int]:
    children = [int(c) for task in Path(f"/proc/{pid}/task").glob("*/children") for c in task.read_text().split()]
    return [pid, *(p for child in children for p in processes_of(child))]


def memory_mb(pid: int) -> dict[str, float]:
    """Resident and proportional set sizes of a process and its children."""
    rss = pss = 0
    for process in processes_of(pid):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M).group(1))  # type: ignore[union-attr]
        pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))  # type: ignore[union-attr]
    return {"rss_mb": round(rss / 1024, 1), "pss_mb": round(pss / 1024, 1), "processes": len(processes_of(pid))}


def engine_rate(bundle: Path, photographs: list[bytes], batch: int, seconds: float) -> float:
    engine = Engine(Bundle.open(bundle))
    studies = [Study(image=photographs[i % len(photographs)]) for i in range(batch)]
    engine.run([engine.prepare(s) for s in studies])
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        engine.run([engine.prepare(s) for s in studies])
        done += batch
    return done / (time.perf_counter() - started)


class Caller:
    """Calls Grade with requests that were made before."""

    def __init__(self, address: str, photographs: list[bytes], batch: int) -> None:
        self.channel = grpc.aio.insecure_channel(address, [("grpc.max_send_message_length", 64 << 20)])
        self.stub: Any = screening_pb2_grpc.ScreeningStub(self.channel)
        self.batched = screening_pb2.GradeRequest(
            studies=[study_to(Study(image=photographs[i % len(photographs)])) for i in range(batch)]
        )
        self.single = [screening_pb2.GradeRequest(studies=[study_to(Study(image=p))]) for p in photographs]

    async def closed(self, requests: list[Any], callers: int, seconds: float) -> float:
        """Studies a second with so many callers, each waiting for its answer."""
        done = 0
        end = time.perf_counter() + seconds
        turn = itertools.cycle(requests)

        async def call() -> None:
            nonlocal done
            while time.perf_counter() < end:
                response = await self.stub.Grade(next(turn), timeout=60)
                done += sum(r.HasField("grade") for r in response.results)

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return done / (time.perf_counter() - started)

    async def open(self, rate: float, seconds: float, deadline_s: float) -> dict[str, Any]:
        """Poisson arrivals; answers, refusals and how long each took."""
        answered: list[float] = []
        refused: dict[str, list[float]] = {}
        tasks: set[asyncio.Task[None]] = set()

        async def call(request: Any) -> None:
            started = time.perf_counter()
            try:
                await self.stub.Grade(request, timeout=deadline_s)
                answered.append(time.perf_counter() - started)
            except grpc.RpcError as error:
                refused.setdefault(error.code().name, []).append(time.perf_counter() - started)

        random_source = random.Random(0)
        started = time.perf_counter()
        due, i = started, 0
        while due < started + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(call(self.single[i % len(self.single)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += random_source.expovariate(rate)
            i += 1
        await asyncio.gather(*tasks)
        elapsed = time.perf_counter() - started
        return {
            "offered_per_s": round(i / seconds, 2),
            "answered_in_time_per_s": round(len(answered) / elapsed, 2),
            "latency_ms": _quantiles(answered),
            "refused": {code: {"count": len(times), **_quantiles(times)} for code, times in refused.items()},
        }


def _quantiles(times: list[float]) -> dict[str, float]:
    if len(times) < 2:
        return {}
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49] * 1e3, 1), "p99": round(cuts[98] * 1e3, 1), "max": round(max(times) * 1e3, 1)}


async def measure(args: argparse.Namespace, photographs: list[bytes]) -> dict[str, Any]:
    result: dict[str, Any] = {"bundle": str(args.bundle), "batch": args.batch, "cores": len(os.sched_getaffinity(0))}
    result["engine_per_s"] = round(await asyncio.to_thread(engine_rate, args.bundle, photographs, args.batch, args.seconds), 2)
    process, address, start_s = start_server(args.bundle, args.flags.split())
    try:
        result["start_s"] = round(start_s, 2)
        result["memory_at_start"] = memory_mb(process.pid)
        caller = Caller(address, photographs, args.batch)
        await caller.closed([caller.batched], 2, 2)
        result["grpc_per_s"] = round(await caller.closed([caller.batched], 2, args.seconds), 2)
        result["grpc_against_engine"] = round(result["grpc_per_s"] / result["engine_per_s"], 3)
        result["engine_per_s_again"] = round(engine_rate(args.bundle, photographs, args.batch, args.seconds), 2)
        capacity = await caller.closed(caller.single, 32, args.seconds)
        result["capacity_per_s"] = round(capacity, 2)
        result["load_70"] = await caller.open(0.7 * capacity, args.seconds * 2, 30)
        result["load_300"] = await caller.open(3 * capacity, args.overload_seconds, args.deadline)
        in_time = result["load_300"]["answered_in_time_per_s"]
        result["load_300"]["answered_against_capacity"] = round(in_time / capacity, 3)
        result["memory_after"] = memory_mb(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        result["exit_code"] = process.wait(60)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--overload-seconds", type=float, default=30)
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds, of each call under overload")
    parser.add_argument("--flags", default="", help="more flags of foveal serve")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = asyncio.run(measure(args, load_photographs(args.photos, 32)))
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
