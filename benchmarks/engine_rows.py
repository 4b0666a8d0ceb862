"""What a caller waits for: an exam, a lone photograph against its bare graphs, calls that were given up, every plan under load.

    foveal compile BUNDLE
    python benchmarks/engine_rows.py BUNDLE PHOTOS --large LARGE.jpg --json benchmarks/results/engine_rows.json

- *exam*: p95 of `GradeExam` with six photographs, one caller;
- *lone*: median time of one photograph from bytes to answer through gRPC, one caller, in turn with its bare graphs (the image
  and the fusion graph on prepared input, in this process, with as many threads as a worker gives them);
- *given up*: photographs in the queue of a stopped worker whose callers have left; the server's own count of studies that were
  answered or run afterwards, and how soon a full queue takes others;
- *plans*: 32 callers in a closed loop with deadlines of 5 s, for every setting that `foveal compile` measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from foveal_runtime._proto import admin_pb2, admin_pb2_grpc, screening_pb2, study_pb2
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.compiled import entry_folder, find_compiled
from foveal_runtime.engine.engine import Engine
from foveal_runtime.serving.kept import read_plan
from foveal_runtime.serving.spec import CPU_ROWS
from foveal_runtime.serving.workerspec import graph_threads
from foveal_runtime.study.study import Study
from processes import processes_of
from runtime_load import Caller, load_photographs, report, start_server
from sizing import closed

_QUEUED = 250
"""Studies queued at a time: the line holds 256."""
_GIVEN_UP_S = 10.0
"""After which studies that nobody waits for and that are still queued end the run."""


async def exam(caller: Caller, photographs: list[bytes], count: int) -> dict[str, float]:
    call = caller.channel.unary_unary("/foveal.v1.Screening/GradeExam")
    eyes = (study_pb2.EYE_RIGHT, study_pb2.EYE_LEFT)
    request = screening_pb2.GradeExamRequest(
        studies=[
            screening_pb2.ExamStudy(eye=eyes[i % 2], study=study_pb2.Study(image=study_pb2.Image(encoded=photographs[i])))
            for i in range(6)
        ]
    ).SerializeToString()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await call(request, timeout=60)
        times.append((time.perf_counter() - started) * 1e3)
    cuts = statistics.quantiles(times[5:], n=20)
    return {"p50_ms": round(statistics.median(times[5:]), 1), "p95_ms": round(cuts[18], 1)}


async def lone(caller: Caller, engine: Engine, photograph: bytes, count: int) -> dict[str, float]:
    request = screening_pb2.GradeRequest(studies=[study_pb2.Study(image=study_pb2.Image(encoded=photograph))])
    data, prepared = request.SerializeToString(), engine.prepare(Study(image=photograph))
    answers, graphs = [], []
    for _ in range(count):
        started = time.perf_counter()
        await caller.grade(data, timeout=60)
        answers.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        engine.run([prepared])
        graphs.append((time.perf_counter() - started) * 1e3)
    answer, graph = statistics.median(answers[3:]), statistics.median(graphs[3:])
    return {"answer_ms": round(answer, 2), "graphs_ms": round(graph, 2), "ratio": round(answer / graph, 2)}


async def given_up(caller: Caller, pid: int, total: int) -> dict[str, Any]:
    """Queue studies behind stopped workers, leave, let the workers go on, and count what they were handed."""
    admin: Any = admin_pb2_grpc.AdminStub(caller.channel)
    workers = [p for p in processes_of(pid) if p != pid]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    handed, left, freed_ms = 0, 0, []
    try:
        while left < total:
            calls = [caller.grade(caller.single[i % len(caller.single)], timeout=60) for i in range(_QUEUED)]
            while (await admin.GetStatus(admin_pb2.GetStatusRequest())).queued_studies < _QUEUED:
                await asyncio.sleep(0.01)
            for call in calls:
                call.cancel()
            left += len(calls)
            started = time.perf_counter()
            # What stays was handed to workers before its caller left: never more than in the first round.
            while (depth := (await admin.GetStatus(admin_pb2.GetStatusRequest())).queued_studies) > _QUEUED // 8:
                if time.perf_counter() - started > _GIVEN_UP_S:
                    raise SystemExit(f"{depth} studies are queued {_GIVEN_UP_S:g} s after their callers left")
                await asyncio.sleep(0.001)
            freed_ms.append((time.perf_counter() - started) * 1e3)
            handed = depth
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    freed = {"median": round(statistics.median(freed_ms), 1), "max": round(max(freed_ms), 1)}
    return {"studies": left, "left_in_workers": handed, "freed_ms": freed}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    photographs = load_photographs(args.photos, 32)
    bundle = Bundle.open(args.bundle)
    result: dict[str, Any] = {"bundle": args.bundle.name, "cores": len(os.sched_getaffinity(0))}
    process, address, _ = start_server(args.bundle, [])
    try:
        caller = Caller(address, photographs, 1)
        model = await caller.model()
        threads = graph_threads(model.threads)
        result |= {"workers": model.workers, "threads": model.threads}
        engine = Engine(bundle, threads=threads, max_rows=CPU_ROWS, compiled=find_compiled(bundle, "cpu"))
        result["exam"] = await exam(caller, photographs, args.count)
        result["lone"] = await lone(caller, engine, photographs[0], args.count)
        if args.large:
            result["lone_large"] = await lone(caller, engine, args.large.read_bytes(), args.count)
        result["given_up"] = await given_up(caller, process.pid, args.given_up)
        result["closed, deadline 0.5 s"] = await closed(caller, 32, args.seconds, 0.5)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    plan = read_plan(entry_folder(bundle.sha256, "cpu"))
    result["plans"] = []
    for setting in plan.measured if plan is not None else ():
        flags = ["--workers", str(setting.workers), "--threads", str(setting.threads), "--max-batch", str(setting.max_batch)]
        process, address, _ = start_server(args.bundle, flags)
        try:
            found = await closed(Caller(address, photographs, 1), 32, args.seconds, 5.0)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        result["plans"].append({"setting": " ".join(flags), **found})
        print(result["plans"][-1], file=sys.stderr)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--large", type=Path, help="a photograph of full size")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--given-up", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report(asyncio.run(measure(args)), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
