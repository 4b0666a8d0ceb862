"""Closed loops of many callers against a real server, and screenings an hour by cores. `growth.py` runs both."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from curves import Fit, amdahl
from foveal_runtime.client.options import ClientOptions
from foveal_runtime.client.retries import Retries
from foveal_runtime.rpc.status import error_of_rpc
from runtime_load import Caller, load_photographs, start_server

CORES = (1, 2, 4, 8, 16, 32, 64)
_WARM_S = 1.5
_DEADLINE_S = 600.0
_PAUSE_S = 0.1
"""Of a caller whose call failed for good: what that costs falls on the same cores."""
_CROWD = 32
"""Callers beyond whom a measurement lasts longer in proportion: each has to be answered several times."""


async def closed_loops(args: argparse.Namespace, address: str, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Answers to so many callers at a time, one photograph a call."""
    caller = Caller(address, load_photographs(args.photographs, 32), 1)
    await closed(caller, 8, _WARM_S)
    rows = []
    for count in counts:
        rows.append({"callers": count, **await closed(caller, count, args.seconds * max(1.0, count / _CROWD))})
        print(rows[-1], file=sys.stderr, flush=True)
    await caller.channel.close()
    return rows


async def closed(caller: Caller, count: int, seconds: float, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
    """Closed loops with deadlines. Who is refused comes back when the server said, as the package's own client does.

    What is answered after the end counts nowhere: a crowd's last answers come long after it.
    """
    times: list[float] = []
    retries = Retries(ClientOptions())
    refused = 0
    end = time.perf_counter() + seconds

    async def call(number: int) -> None:
        nonlocal refused
        while (sent := time.perf_counter()) < end:
            try:
                await caller.grade(caller.single[number % len(caller.single)], timeout=deadline_s)
            except grpc.RpcError as error:
                refused += 1
                await asyncio.sleep(retries.begin().pause_s(error_of_rpc(error, "the server")) or _PAUSE_S)
            else:
                if (now := time.perf_counter()) < end:
                    times.append((now - sent) * 1e3)

    await asyncio.gather(*(call(number) for number in range(count)))
    quantiles = {f"p{q}_ms": round(float(np.percentile(times, q)), 1) if times else None for q in (50, 99)}
    return {"per_s": round(len(times) / seconds, 2), "refused": refused, "seconds": seconds, **quantiles}


def sizing(args: argparse.Namespace) -> dict[str, Any]:
    """Screenings an hour by cores."""
    allowed = sorted(os.sched_getaffinity(0))
    counts = [count for count in CORES if count <= len(allowed)]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for count in (count for _ in range(args.turns) for count in counts):
        rates[count].append(held_rate(args, allowed, count))
    measured = {count: statistics.median(each) for count, each in rates.items()}
    fit = amdahl(list(measured), list(measured.values()))
    return {"fit": fit.document(), "rates_per_s": rates, "rows": sizing_table(measured, fit, args.photographs_per_screening)}


def held_rate(args: argparse.Namespace, allowed: list[int], count: int) -> float:
    """Photographs a second of a server that is held to the first so many cores; the caller has the others, if there are any."""
    os.sched_setaffinity(0, allowed[:count])
    try:
        process, address, _ = start_server(args.bundle, ["--workers", str(count), "--threads", "1"])
    finally:
        os.sched_setaffinity(0, allowed[count:] or allowed)
    try:
        (row,) = asyncio.run(closed_loops(args, address, [16 * count]))
    finally:
        ended(process)
        os.sched_setaffinity(0, allowed)
    return float(row["per_s"])


def sizing_table(measured: dict[int, float], fit: Fit, photographs: int) -> list[dict[str, Any]]:
    """Rows by cores.

    Args:
        measured: photographs a second by cores.
        fit: through them.
        photographs: of one screening.
    """
    one = fit.parameters["one"]
    rows = []
    for cores in sorted({*CORES, *measured}):
        rate = measured.get(cores, fit.at(cores))
        rows.append(
            {
                "cores": cores,
                "source": "measured" if cores in measured else "computed",
                "photographs_per_s": round(rate, 1),
                "screenings_per_hour": round(rate * 3600 / photographs),
                "at_70_percent_load": round(0.7 * rate * 3600 / photographs),
                "linear_bound_per_hour": round(one * cores * 3600 / photographs),
            }
        )
    return rows


def ended(process: subprocess.Popen[str]) -> None:
    """Stop a server."""
    process.send_signal(signal.SIGTERM)
    process.wait(60)
