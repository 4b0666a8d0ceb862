"""Three servers, each held to a share of the cores, and one killed: what callers get before and after.

    python benchmarks/several_servers.py --bundle models/edge --photographs examples/photographs --json OUT.json

Callers grade in a closed loop through one client that is spread over all three (`ADDRESS,ADDRESS,ADDRESS`), which may send
again. Each server's processes are in a control group of their own (needs root, and a cpu controller of either version that can
be written), so that killing one gives nothing to the others. After `--seconds` one is killed. The *share of remaining
capacity* is the rate from two seconds after the kill on, over two thirds of the rate before it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter

from foveal_runtime.cli.local_server import LocalServer
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Study
from foveal_train.runs.run import write_json
from processes import processes_of
from spread import spread

app = cyclopts.App(help=__doc__)
SERVERS = 3
_PERIOD_US = 20_000
_ONE, _TWO = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


@contextlib.contextmanager
def held(pid: int, cores: float, name: str) -> Iterator[None]:
    """Hold a process, and those it begins from now on, to a share of the cores."""
    first = _ONE.is_dir()
    group = (_ONE if first else _TWO) / name
    group.mkdir()
    quota = int(cores * _PERIOD_US)
    if first:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    for each in processes_of(pid):
        (group / "cgroup.procs").write_text(str(each))
    try:
        yield
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(left), signal.SIGKILL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


class Callers:
    """Closed loops until `end`; when each answer came, and what failed."""

    def __init__(self, address: str, photographs: list[bytes], count: int) -> None:
        self.answered: list[tuple[float, float]] = []
        self.failed: list[str] = []
        self._over = threading.Event()
        self._client = Client(address, ClientOptions(timeout_s=60.0))
        self._photographs = photographs
        self._threads = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(count)]

    def _call(self, number: int) -> None:
        turn = number
        while not self._over.is_set():
            study = Study(image=self._photographs[turn % len(self._photographs)])
            turn += 1
            started = time.monotonic()
            try:
                (result,) = self._client.grade([study]).results
                if not result.HasField("grade"):
                    self.failed.append(result.error.message)
            except FovealError as error:
                self.failed.append(str(error))
            self.answered.append((time.monotonic(), time.monotonic() - started))

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def rate(self, since: float, until: float) -> float:
        """Answers a second."""
        return sum(since <= moment < until for moment, _ in self.answered) / (until - since)


@app.default
def main(
    *,
    bundle: Path,
    photographs: Path,
    cores: float = 0.25,
    callers: int = 12,
    seconds: float = 20.0,
    rounds: int = 3,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Kill one of three, several times.

    Args:
        bundle: that all serve.
        photographs: folder of those that are sent.
        cores: of each server.
        callers: closed loops.
        seconds: before the kill, and after its first two seconds.
        rounds: kills.
        json_: write the figures to this file.
    """
    pictures = [path.read_bytes() for path in sorted(photographs.glob("*.jpg"))]
    rows = [one_round(bundle, pictures, cores, callers, seconds) for _ in range(rounds)]
    found: dict[str, Any] = {
        "servers": SERVERS,
        "cores_each": cores,
        "callers": callers,
        "rounds": rows,
        "failed": sum(row["failed"] for row in rows),
        "share_of_remaining_capacity": spread([row["share"] for row in rows]),
        "longest_pause_s": max(row["longest_pause_s"] for row in rows),
    }
    if json_ is not None:
        write_json(json_, found)
    for name, value in found.items():
        print(f"{name}: {value}")


def one_round(bundle: Path, pictures: list[bytes], cores: float, callers: int, seconds: float) -> dict[str, Any]:
    """One kill."""
    with ExitStack() as stack:
        flags = ("--workers", "1", "--cache-entries", "0", "--allow-unverified", "--allow-untrained")
        servers = [stack.enter_context(LocalServer(bundle, *flags, ends_itself=False)) for _ in range(SERVERS)]
        for number, server in enumerate(servers):
            stack.enter_context(held(server.process.pid, cores, f"foveal-{os.getpid()}-{number}"))
        with Callers(",".join(server.address for server in servers), pictures, callers) as load:
            time.sleep(2.0)
            begun = time.monotonic()
            time.sleep(seconds)
            killed = time.monotonic()
            servers[0].process.send_signal(signal.SIGKILL)
            time.sleep(2.0 + seconds)
            over = time.monotonic()
        before, after = load.rate(begun, killed), load.rate(killed + 2.0, over)
        moments = [killed, *sorted(moment for moment, _ in load.answered if moment > killed)]
        return {
            "before_per_s": before,
            "after_per_s": after,
            "share": after / (before * (SERVERS - 1) / SERVERS),
            "longest_pause_s": float(max(np.diff(moments))),
            "failed": len(load.failed),
        }


if __name__ == "__main__":
    app()
