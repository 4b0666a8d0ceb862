"""What a bundle serves on this machine: start, memory, throughput against the bare engine, latency at 70 %, overload at 300 %.

    foveal compile BUNDLE
    python benchmarks/runtime_load.py BUNDLE PHOTOS --json benchmarks/results/runtime_load_edge_int8.json
    python benchmarks/runtime_load.py BUNDLE PHOTOS --only mixed --requests 20000 --json …
    python benchmarks/runtime_load.py BUNDLE PHOTOS --only mixed --requests 20000 --leak     # has to end with exit code 1

The server is a real `foveal serve` process with its cache off and the plan of `foveal compile`; the caller is this process and
shares the cores, so it sends requests that were serialised before. Defined in the same run:

- *engine*: studies a second of the worker's own code with the same batches, in as many processes and lanes, without
  queue or gRPC;
- *time of a full batch*: median answer time of one caller whose requests fill every lane: --batch studies;
- *capacity*: studies a second of 32 callers that send one study each and wait for its answer, before the overload and after it;
- open-loop calls hold one study, arrive at random (Poisson) times and carry a deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from foveal_runtime._proto import model_pb2, screening_pb2, screening_pb2_grpc, study_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.client import ClientOptions
from foveal_runtime.client.channel import open_aio_channel
from foveal_runtime.engine.answers import Ask
from foveal_runtime.engine.compiled import find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.serving.spec import CPU_ROWS
from foveal_runtime.serving.worker import Crew, run_batch
from foveal_runtime.serving.workerspec import graph_threads, lanes_for
from foveal_runtime.study.study import Study
from processes import memory_mb

_TURNS = 5


def load_photographs(folder: Path, count: int) -> list[bytes]:
    """JPEG photographs of a folder and below it, spread evenly over their names."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    return [file.read_bytes() for file in files[:: max(1, len(files) // count)][:count]]


_LEAKING = """
import os
from foveal_runtime.cli.main import main
from foveal_runtime.rpc.service import ScreeningService
kept, grade = [], ScreeningService.Grade
async def leaking(self, request, context):
    kept.append(os.urandom(1024))
    return await grade(self, request, context)
ScreeningService.Grade = leaking
main()
"""
"""A server that keeps a kilobyte of every request: the measure of memory has to find it."""
_FLAT_KB = 0.5
"""Growth of a request up to which memory is called flat."""


def growth_kb(requests: list[int], megabytes: list[float]) -> float:
    """Kilobytes a request: the median slope between all pairs of samples (Theil and Sen), which no step or spike moves."""
    slopes = [
        (megabytes[j] - megabytes[i]) * 1024 / (requests[j] - requests[i])
        for i in range(len(requests))
        for j in range(i + 1, len(requests))
    ]
    return statistics.median(slopes)


def start_server(
    bundle: Path, flags: list[str], *, leak: bool = False, env: dict[str, str] | None = None
) -> tuple[subprocess.Popen[str], str, float]:
    """A real server with its cache off: its process, its address, and the seconds until it serves.

    Args:
        bundle: to be served.
        flags: more of `foveal serve`.
        leak: keep a kilobyte of every request.
        env: variables, of another checkout for example; None is this process's.
    """
    command = [
        sys.executable,
        *(("-c", _LEAKING) if leak else ("-m", "foveal_runtime.cli.main")),
        "serve",
        str(bundle),
        "--address",
        "127.0.0.1:0",
        "--allow-unverified",
        "--allow-untrained",
    ]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--cache-entries", "0", *flags], env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    while (
        found := re.search(r'(?:^|"message": ")serving .* on ([^\s,"]+)', line := process.stderr.readline().strip())
    ) is None:
        lines.append(line)
        if not line:
            raise SystemExit("\n".join(lines))
    return process, found.group(1), time.perf_counter() - started


def _engine(bundle: Path, photographs: list[bytes], batch: int, threads: int) -> Callable[[float], float]:
    """Studies a second of one worker's own code, in as many lanes, for so many seconds."""
    opened = Bundle.open(bundle)
    engine = Engine(opened, threads=graph_threads(threads), max_rows=CPU_ROWS, compiled=find_compiled(opened, "cpu"))
    studies = [Study(image=photographs[i % len(photographs)]) for i in range(batch)]
    asks = [Ask()] * batch
    run_batch(engine, Crew(1), studies, asks)

    def rate(seconds: float) -> float:
        started = time.perf_counter()

        def lane(_: int) -> int:
            crew, done = Crew(1), 0
            while time.perf_counter() - started < seconds:
                run_batch(engine, crew, studies, asks)
                done += batch
            return done

        lanes = lanes_for("cpu", threads)
        with ThreadPoolExecutor(lanes) as pool:
            done = sum(pool.map(lane, range(lanes)))
        return done / (time.perf_counter() - started)

    return rate


def _engine_process(connection: Connection, *of_engine: Any) -> None:
    rate = _engine(*of_engine)
    connection.send(0.0)
    while (seconds := connection.recv()) > 0:
        connection.send(rate(seconds))


class Engines:
    """The engine without queue and gRPC, in as many processes as the server has workers."""

    def __init__(self, bundle: Path, photographs: list[bytes], batch: int, workers: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(workers)]
        self._ends = [ours for ours, _ in pairs]
        self._processes = [
            context.Process(target=_engine_process, args=(theirs, bundle, photographs, batch, threads)) for _, theirs in pairs
        ]
        for process in self._processes:
            process.start()
        for end in self._ends:
            end.recv()

    def rate(self, seconds: float) -> float:
        for end in self._ends:
            end.send(seconds)
        return float(sum(end.recv() for end in self._ends))

    def close(self) -> None:
        for end, process in zip(self._ends, self._processes, strict=True):
            end.send(0.0)
            process.join()


def graded(response: bytes) -> int:
    """Grades in a response."""
    return sum(r.HasField("grade") for r in screening_pb2.GradeResponse.FromString(response).results)


class Caller:
    """Calls Grade with requests that were serialised before."""

    def __init__(
        self, address: str, photographs: list[bytes], batch: int, *, options: ClientOptions | None = None, token: str = ""
    ) -> None:
        """Args:
        address: of the server.
        photographs: one a request.
        batch: photographs in a request of many.
        options: of the channel.
        token: sent with each call; empty sends none.
        """
        self.channel = open_aio_channel(address, options)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.grade: Any = self.channel.unary_unary("/foveal.v1.Screening/Grade")
        studies = [study_to(Study(image=p)) for p in photographs]
        self.batched = screening_pb2.GradeRequest(studies=[studies[i % len(studies)] for i in range(batch)]).SerializeToString()
        self.single = [screening_pb2.GradeRequest(studies=[study]).SerializeToString() for study in studies]

    async def model(self) -> model_pb2.GetModelResponse:
        stub: Any = screening_pb2_grpc.ScreeningStub(self.channel)
        response: model_pb2.GetModelResponse = await stub.GetModel(model_pb2.GetModelRequest(), timeout=30)
        return response

    async def closed(self, requests: list[bytes], callers: int, seconds: float) -> tuple[float, list[float]]:
        """Grades a second with so many callers, each waiting for its answer, and how long each answer took."""
        done = 0
        times: list[float] = []
        end = time.perf_counter() + seconds
        turn = itertools.cycle(requests)

        async def call() -> None:
            nonlocal done
            while (sent := time.perf_counter()) < end:
                response = await self.grade(next(turn), timeout=60, metadata=self._metadata)
                times.append(time.perf_counter() - sent)
                done += graded(response)

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return done / (time.perf_counter() - started), times

    async def open(self, rate: float, seconds: float, deadline_s: float) -> dict[str, Any]:
        """Poisson arrivals; answers, refusals and how long each took."""
        answered: list[float] = []
        refused: dict[str, list[float]] = {}
        tasks: set[asyncio.Task[None]] = set()

        async def call(request: bytes) -> None:
            started = time.perf_counter()
            try:
                await self.grade(request, timeout=deadline_s)
                answered.append(time.perf_counter() - started)
            except grpc.RpcError as error:
                refused.setdefault(error.code().name, []).append(time.perf_counter() - started)

        random_source = random.Random(0)
        cpu_s = time.process_time()
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
            "seconds": round(elapsed, 1),
            "offered_per_s": round(i / seconds, 2),
            "answered_in_time_per_s": round(len(answered) / elapsed, 2),
            "latency_ms": _quantiles(answered),
            "refused": {code: {"count": len(times), **_quantiles(times)} for code, times in refused.items()},
            "caller_cpu_share": round((time.process_time() - cpu_s) / elapsed, 3),
        }


def _quantiles(times: list[float]) -> dict[str, float]:
    if len(times) < 2:
        return {}
    cuts = statistics.quantiles(times, n=100)
    return {"p50": round(cuts[49] * 1e3, 1), "p99": round(cuts[98] * 1e3, 1), "max": round(max(times) * 1e3, 1)}


async def load(args: argparse.Namespace, address: str, photographs: list[bytes], result: dict[str, Any]) -> None:
    """Throughput, latency and overload."""
    caller = Caller(address, photographs, args.batch)
    model = await caller.model()
    result["workers"], result["threads"] = model.workers, model.threads
    lanes = 2 * model.workers * lanes_for("cpu", model.threads)  # as many as are handed out
    engines = Engines(args.bundle, photographs, args.batch, model.workers, model.threads)

    async def engine() -> float:
        return round(await asyncio.to_thread(engines.rate, args.seconds), 2)

    await caller.closed([caller.batched], lanes, 2)
    # In turns: the machine's speed changes by a tenth within seconds.
    result["engine_per_s"], result["grpc_per_s"] = [], []
    for _ in range(_TURNS):
        result["engine_per_s"].append(await engine())
        rate, _ = await caller.closed([caller.batched], lanes, args.seconds)
        result["grpc_per_s"].append(round(rate, 2))
    engines.close()
    result["grpc_against_engine"] = round(sum(result["grpc_per_s"]) / sum(result["engine_per_s"]), 3)
    _, times = await caller.closed([caller.batched], 1, args.seconds)
    full_batch_ms = statistics.median(times) * 1e3
    result["full_batch_ms"] = round(full_batch_ms, 1)
    capacity, _ = await caller.closed(caller.single, 32, 2 * args.seconds)
    result["capacity_per_s"] = round(capacity, 2)
    calm = await caller.open(0.7 * capacity, args.calm_seconds, 30)
    calm["p99_against_full_batch"] = round(calm["latency_ms"]["p99"] / full_batch_ms, 2)
    result["load_70"] = calm
    storm = await caller.open(3 * capacity, args.overload_seconds, args.deadline)
    again, _ = await caller.closed(caller.single, 32, 2 * args.seconds)
    result["capacity_after_per_s"] = round(again, 2)
    storm["answered_against_capacity"] = round(storm["answered_in_time_per_s"] / statistics.mean((capacity, again)), 3)
    result["load_300"] = storm


def mixed_studies(photographs: list[bytes], rng: random.Random) -> Iterator[study_pb2.Study]:
    """Photographs, notes, records, subsets of them, and a tenth that is wrong in some way, for ever."""
    words = ("macula", "edema", "drusen", "hypertensive", "retinopathy", "is", "present", "no", "increased", "cup", "disc")
    while True:
        study = study_pb2.Study(id=str(rng.getrandbits(48)))
        kind = rng.random()
        if kind < 0.3:
            study.image.encoded = rng.choice(photographs)
        if 0.2 < kind < 0.65:
            study.note = " ".join(rng.choices(words, k=rng.choice((3, 12, 40, 150))))
        if 0.25 < kind < 0.3 or 0.5 < kind < 0.9:
            study.record.age_years = rng.uniform(20, 90)
            study.record.sex = rng.choice((study_pb2.SEX_MALE, study_pb2.SEX_FEMALE))
        if kind >= 0.9:
            wrong = rng.randrange(6)
            if wrong == 0:
                study.image.encoded = rng.choice(photographs)[: rng.randrange(100, 5000)]
            elif wrong == 1:
                study.image.encoded = rng.randbytes(2000)
            elif wrong == 2:
                study.record.age_years = -rng.random()
            elif wrong == 3:
                study.image.raw.CopyFrom(
                    study_pb2.RawImage(
                        pixels=b"\xff" * (64 * 64 * 12), width=64, height=64, sample_type=study_pb2.SAMPLE_TYPE_FLOAT32
                    )
                )
            elif wrong == 4:
                study.note = "a" * 200_000
        yield study


async def mixed(args: argparse.Namespace, pid: int, address: str, photographs: list[bytes]) -> dict[str, Any]:
    """Resident memory over many requests of every kind, eight at a time."""
    channel = open_aio_channel(address)
    stub: Any = screening_pb2_grpc.ScreeningStub(channel)
    rng = random.Random(0)
    studies = mixed_studies(photographs, rng)
    left = args.requests
    outcomes: collections.Counter[str] = collections.Counter()
    samples = [memory_mb(pid)]
    at = [0]
    every = max(1, args.requests // 100)

    async def call() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if left % every == 0:
                samples.append(memory_mb(pid))
                at.append(args.requests - left)
            request = screening_pb2.GradeRequest(studies=[next(studies) for _ in range(rng.choice((1, 1, 1, 4)))])
            for item in (await stub.Grade(request, timeout=3600)).results:
                outcomes[item.WhichOneof("outcome") or "neither"] += 1

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(8)))
    await channel.close()
    pss, rss = ([sample[kind] for sample in samples] for kind in ("pss_mb", "rss_mb"))
    warm = len(samples) // 3
    growth = growth_kb(at[warm:], pss[warm:])
    return {
        "requests": args.requests,
        "outcomes": dict(outcomes),
        "seconds": round(time.perf_counter() - started, 1),
        "pss_mb": pss,
        "rss_mb": rss,
        "highest_pss_mb": max(pss),
        "highest_rss_mb": max(rss),
        "growth_kb_a_request": round(growth, 2),
        "flat": growth <= _FLAT_KB,
    }


async def measure(args: argparse.Namespace, photographs: list[bytes]) -> dict[str, Any]:
    result: dict[str, Any] = {"bundle": args.bundle.name, "batch": args.batch, "cores": len(os.sched_getaffinity(0))}
    process, address, start_s = start_server(args.bundle, args.flags.split(), leak=args.leak)
    try:
        result["start_s"] = round(start_s, 2)
        result["memory_at_start"] = memory_mb(process.pid)
        if args.only in (None, "load"):
            await load(args, address, photographs, result)
            result["memory_after_load"] = memory_mb(process.pid)
        if args.only == "mixed":
            result["mixed"] = await mixed(args, process.pid, address, photographs)
    finally:
        process.send_signal(signal.SIGTERM)
        result["exit_code"] = process.wait(60)
    return result


def report(result: dict[str, Any], path: Path | None) -> None:
    """Print a result, and keep it where that was asked for."""
    text = json.dumps(result, indent=1)
    print(text)
    if path is not None:
        path.write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--batch", type=int, default=16, help="studies of a batched request; as many as the server's batch")
    parser.add_argument("--only", choices=("start", "load", "mixed"), help="default: start and load")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--calm-seconds", type=float, default=40, help="at 70 %% of the capacity")
    parser.add_argument("--overload-seconds", type=float, default=120)
    parser.add_argument("--deadline", type=float, default=2.0, help="seconds, of each call under overload")
    parser.add_argument("--requests", type=int, default=20_000, help="of the mixed kind")
    parser.add_argument("--leak", action="store_true", help="plant a leak of 1 kB a request: --only mixed has to fail then")
    parser.add_argument("--flags", default="", help="more flags of foveal serve")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = asyncio.run(measure(args, load_photographs(args.photos, 32)))
    report(result, args.json)
    return 0 if result.get("mixed", {"flat": True})["flat"] else 1


if __name__ == "__main__":
    sys.exit(main())
