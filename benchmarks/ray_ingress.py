"""What a study costs through Ray Serve's proxy and a replica, against gRPC of `foveal serve` itself: seconds of processor time.

    python benchmarks/ray_ingress.py --bundle models/edge --photographs examples/photographs --json OUT.json

Either has one worker of one thread and keeps no answers. The same callers send the same photographs in a closed loop, in turns
of the two, so that what else the machine does meets both. Counted is the processor time of the server, or of all of Ray's
processes, over a turn, less what they take in an idle turn of the same length (Ray's report their load all the time).
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter

from foveal_runtime.cli.local_server import LocalServer, free_address
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.study.study import Study
from foveal_train.runs.run import write_json
from processes import cpu_s, processes_of
from spread import spread

app = cyclopts.App(help=__doc__)
_RAY_READY_S = 600.0
COMMON = ("--cache-entries", "0", "--allow-unverified", "--allow-untrained", "--self-test-every", "0")
DIRECT = (*COMMON, "--workers", "1", "--threads", "1")
RAY = (*COMMON, "--ray", "--replicas", "1", "--replica-cpus", "1")


class Turn:
    """Closed loops for some seconds; studies that were answered, and how long each call took."""

    def __init__(self, address: str, photographs: list[bytes], callers: int, seconds: float) -> None:
        self.took_s: list[float] = []
        self._end = time.monotonic() + seconds
        with Client(address, ClientOptions(timeout_s=120.0)) as client:
            threads = [threading.Thread(target=self._call, args=(client, photographs, number)) for number in range(callers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _call(self, client: Client, photographs: list[bytes], number: int) -> None:
        while (started := time.monotonic()) < self._end:
            (result,) = client.grade([Study(image=photographs[number % len(photographs)])]).results
            assert result.HasField("grade"), result.error.message
            self.took_s.append(time.monotonic() - started)
            number += 1


def one_turn(server: LocalServer, pictures: list[bytes], callers: int, seconds: float) -> dict[str, float]:
    """Figures of one server in one turn."""
    pid = server.process.pid
    before = cpu_s(processes_of(pid))
    time.sleep(seconds / 2)
    idle = (cpu_s(processes_of(pid)) - before) / (seconds / 2)
    before, began = cpu_s(processes_of(pid)), time.monotonic()
    turn = Turn(server.address, pictures, callers, seconds)
    lasted = time.monotonic() - began
    return {
        "cpu_s_each": (cpu_s(processes_of(pid)) - before - idle * lasted) / len(turn.took_s),
        "per_s": len(turn.took_s) / lasted,
        "p50_s": float(np.median(turn.took_s)),
        "idle_cores": idle,
    }


@app.default
def main(
    *,
    bundle: Path,
    photographs: Path,
    callers: int = 2,
    seconds: float = 10.0,
    turns: int = 6,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare the two.

    Args:
        bundle: that both serve.
        photographs: folder of those that are sent.
        callers: closed loops.
        seconds: of a turn.
        turns: of each.
        json_: write the figures to this file.
    """
    pictures = [path.read_bytes() for path in sorted(photographs.glob("*.jpg"))]
    with ExitStack() as stack:
        address = free_address()
        servers = {
            "direct": stack.enter_context(LocalServer(bundle, *DIRECT)),
            "ray": stack.enter_context(LocalServer(bundle, *RAY, "--address", address, ready_s=_RAY_READY_S)),
        }
        for server in servers.values():
            one_turn(server, pictures, callers, seconds / 4)
        rows: list[dict[str, Any]] = []
        for turn in range(turns):
            order = list(servers) if turn % 2 else list(reversed(servers))
            rows.append({name: one_turn(servers[name], pictures, callers, seconds) for name in order})
    ratios = [row["ray"]["cpu_s_each"] / row["direct"]["cpu_s_each"] for row in rows]
    found = {
        "bundle": bundle.name,
        "callers": callers,
        "turns": rows,
        "cpu_s_each": {name: float(np.median([row[name]["cpu_s_each"] for row in rows])) for name in ("direct", "ray")},
        "ratio": spread(ratios),
    }
    if json_ is not None:
        write_json(json_, found)
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    app()
