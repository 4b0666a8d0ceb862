"""What the HTTP side costs gRPC when nobody uses it, and how many photographs a second go through it against gRPC, in one run.

    foveal compile models/edge
    python benchmarks/http_door.py models/edge PHOTOS --turns 20 --json benchmarks/results/http_door.json

Two real servers run side by side with their caches off, one with `--http`. First both are left alone for `--idle` seconds: the
processor time that their own processes take is what the listener costs by itself. Then each turn asks, in another order, for a
photograph a call by as many callers in a closed loop: over gRPC of the server without HTTP, over gRPC of the one with it, and
of the latter over HTTP as a body (image/jpeg), a form (multipart/form-data) and JSON. Ratios are of rates within a turn; the
processor time of an answer is that of the server and its workers. Photographs are made of those given, 2048 px wide and as near
to `--kilobytes` as JPEG's quality allows. Both callers are this process, share the cores and send what was serialised before:
the one for HTTP is twenty lines on a socket, since httpx would take more processor time than the server does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import datetime
import io
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from PIL import Image

from audit_cost import spread
from foveal_runtime.cli.local_server import free_address
from processes import cpu_s, processes_of
from runtime_load import Caller, load_photographs, report, start_server

_WIDTH_PX = 2048
_BOUNDARY = "foveal-benchmark"
KINDS = ("grpc_alone", "grpc_beside", "http_body", "http_form", "http_json")


def of_size(data: bytes, kilobytes: float) -> bytes:
    """A photograph of about that size: scaled, and encoded at the quality that comes nearest."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image = image.resize((_WIDTH_PX, round(_WIDTH_PX * image.height / image.width)), Image.Resampling.BICUBIC)
    tried = []
    for quality in range(30, 98, 3):
        made = io.BytesIO()
        image.save(made, "JPEG", quality=quality)
        tried.append(made.getvalue())
    return min(tried, key=lambda each: abs(len(each) - kilobytes * 1024))


def requests(photographs: list[bytes], host: str) -> dict[str, list[bytes]]:
    """Whole HTTP requests of each kind, one a photograph."""

    def request(kind: str, body: bytes) -> bytes:
        head = f"POST /v1/grade HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    part = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'.encode()
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()
    return {
        "http_body": [request("image/jpeg", each) for each in photographs],
        "http_form": [request(f"multipart/form-data; boundary={_BOUNDARY}", part + each + end) for each in photographs],
        "http_json": [
            request(
                "application/json",
                json.dumps({"studies": [{"image": {"encoded": base64.b64encode(each).decode()}}]}).encode(),
            )
            for each in photographs
        ],
    }


def run_ns(pid: int) -> int:
    """Nanoseconds of processor time that a process's threads took, finer than its ticks."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


async def closed(address: str, sent: list[bytes], callers: int, seconds: float) -> tuple[float, int]:
    """Grades a second over HTTP, each caller on a connection of its own, and how many there were."""
    host, port = address.split(":")
    end, turn, done = time.perf_counter() + seconds, itertools.cycle(sent), 0

    async def call() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < end:
            writer.write(next(turn))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"grade":{' not in body:
                raise SystemExit(f"no grade but {head[:40]!r} {body[:200]!r}")
            done += 1
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return done / (time.perf_counter() - started), done


class Sides:
    """Two servers, and the ways to ask them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._callers, self._seconds = args.callers, args.seconds
        photographs = [of_size(each, args.kilobytes) for each in load_photographs(args.photos, 32)]
        self.kilobytes = statistics.median(len(each) / 1024 for each in photographs)
        self._photographs, self._http = photographs, free_address()
        self._requests = requests(photographs, self._http)
        self._alone = start_server(args.bundle.resolve(), [])
        self._beside = start_server(args.bundle.resolve(), ["--http", self._http])

    def ways(self) -> dict[str, Callable[[], Awaitable[tuple[float, int]]]]:
        """By kind, what asks for a turn: grades a second, and their number."""

        def over_grpc(address: str) -> Callable[[], Awaitable[tuple[float, int]]]:
            async def ask() -> tuple[float, int]:
                caller = Caller(address, self._photographs, 1)
                per_s, times = await caller.closed(caller.single, self._callers, self._seconds)
                await caller.channel.close()
                return per_s, len(times)

            return ask

        def over_http(kind: str) -> Callable[[], Awaitable[tuple[float, int]]]:
            return lambda: closed(self._http, self._requests[kind], self._callers, self._seconds)

        grpcs = {"grpc_alone": over_grpc(self._alone[1]), "grpc_beside": over_grpc(self._beside[1])}
        return grpcs | {kind: over_http(kind) for kind in KINDS if kind.startswith("http")}

    def process(self, kind: str) -> subprocess.Popen[str]:
        """The server that a kind asks."""
        return (self._alone if kind == "grpc_alone" else self._beside)[0]

    async def idle_ms_per_s(self, kind: str, seconds: float) -> float:
        """Milliseconds of processor time a second that a server's own process takes when nobody calls."""
        pid = self.process(kind).pid
        before = run_ns(pid)
        await asyncio.sleep(seconds)
        return round((run_ns(pid) - before) / 1e6 / seconds, 3)

    def end(self) -> None:
        """Stop both."""
        for process, *_ in (self._alone, self._beside):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rates and processor times of every kind, and their ratios."""
    sides = Sides(args)
    per_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
    cpu_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}
    server_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ways = sides.ways()
    try:
        idle = {kind: await sides.idle_ms_per_s(kind, args.idle) for kind in ("grpc_alone", "grpc_beside")}
        for way in ways.values():
            await way()
        for turn in range(args.turns):
            for kind in random.Random(turn).sample(KINDS, len(KINDS)):
                pid = sides.process(kind).pid
                before, before_own = cpu_s(processes_of(pid)), cpu_s([pid])
                rate, count = await ways[kind]()
                per_s[kind].append(rate)
                cpu_ms[kind].append((cpu_s(processes_of(pid)) - before) * 1e3 / count)
                server_ms[kind].append((cpu_s([pid]) - before_own) * 1e3 / count)
            print(" ".join(f"{kind} {per_s[kind][-1]:.1f}" for kind in KINDS), file=sys.stderr)
    finally:
        sides.end()

    def ratio(values: dict[str, list[float]], of: str, to: str) -> dict[str, Any]:
        ratios = [a / b for a, b in zip(values[of], values[to], strict=True)]
        return {**spread(ratios), "geometric_mean": round(statistics.geometric_mean(ratios), 3)}

    pairs = {"idle": ("grpc_beside", "grpc_alone")} | {k: (k, "grpc_beside") for k in KINDS if k.startswith("http")}
    return {
        "date": datetime.date.today().isoformat(),
        "bundle": args.bundle.name,
        "callers": args.callers,
        "turns": args.turns,
        "seconds": args.seconds,
        "kilobytes": round(sides.kilobytes),
        "load_average": round(os.getloadavg()[0], 1),
        "per_s": {kind: spread(values) for kind, values in per_s.items()},
        "cpu_ms_an_answer": {kind: spread(values) for kind, values in cpu_ms.items()},
        "server_process_ms_an_answer": {kind: spread(values) for kind, values in server_ms.items()},
        "idle_ms_per_s": idle,
        "rate_ratio": {name: ratio(per_s, *pair) for name, pair in pairs.items()},
        "cpu_ratio": {name: ratio(cpu_ms, *pair) for name, pair in pairs.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--idle", type=float, default=60, help="seconds in which nobody calls")
    parser.add_argument("--kilobytes", type=float, default=300)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report(asyncio.run(measure(args)), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
