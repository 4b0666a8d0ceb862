"""foveal's server against Triton, BentoML, LitServe and Ray Serve: same graphs, decoding, cores, callers and photographs.

    python -m benchmarks peers
    python benchmarks/serving_peers.py --bundle models/edge --photographs examples/photographs --json OUT.json
    python benchmarks/serving_peers.py render OUT.json FOLDER      the tables and the plot
    python benchmarks/serving_peers.py tune                        the batch that is best for each peer

Every peer runs foveal's own engine (benchmarks/peers/grader.py), a process a core, as its documentation advises for such a
model (benchmarks/peers/NAME: config.toml says how, and from which pages); foveal is `foveal serve` with its cache off after
`foveal compile`. One server runs at a time, all in every turn, in drawn order. Answers that are not those of foveal's engine
count as none, and a server that begins with such is not measured. Loads are percents of what foveal answered in a closed loop
before the first turn: Poisson arrivals, the same moments for all, and every time counts from the planned arrival. Callers of a
load above 70 % leave 500 ms after it. Goodput is the right answers within that, a second. *Alone* is the engine in a process a
core with nobody to ask it: what no server around it can exceed. The callers are this process: on a machine with few cores they
share the servers' (`--caller-cores` gives them others).
"""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from foveal_runtime.rpc.address import free_port
from foveal_train.runs.run import write_json
from peers import environments as made
from peers.alone import alone_per_s
from peers.compare import FOVEAL, Turn, compared, spread
from peers.grader import Grader
from peers.measure import Measurement, NotMeasured, Plan
from peers.photographs import Photographs, photographs_of
from peers.render import write_tables
from peers.servers import ROOT, Server, compile_graphs, version_of
from peers.settings import NAMES, Advice, Settings
from runtime_load import load_photographs

WORK = ROOT / "runs" / "benchmarks"
ENVIRONMENTS = WORK / "peers"
_REAL = 32
"""Photographs at most that are made into others."""
_QUEUE_SHARE = 0.8
"""Of the deadline, what a request may wait before it is refused, in servers that can: the rest is for its batch."""

app = cyclopts.App(help=__doc__)


class Bench:
    """What all servers have in common."""

    def __init__(
        self,
        *,
        bundle: Path,
        photographs: Path,
        environments: Path,
        work: Path,
        cores: tuple[int, ...],
        plan: Plan,
        seconds: float,
    ) -> None:
        """Compile the graphs and make the photographs.

        Args:
            bundle: that all serve.
            photographs: folder of real ones.
            environments: of the peers.
            work: for what is compiled, and the servers' logs.
            cores: that every server is held to.
            plan: of the measurement.
            seconds: that `foveal compile` measures each setting.
        """
        self.bundle, self._environments, self._work, self._cores, self.plan = bundle, environments, work, cores, plan
        work.mkdir(parents=True, exist_ok=True)
        self._cache = work / "cache"
        compile_graphs(bundle, self._cache, cores, seconds)
        os.environ["FOVEAL_CACHE"] = str(self._cache)
        grader, real = Grader(bundle), load_photographs(photographs, _REAL)
        sizes = (plan.size_px, *plan.other_sizes_px)
        self.photographs: Mapping[int, Photographs] = {each: photographs_of(real, each, grader) for each in sizes}

    def server(self, name: str, capacity_per_s: float, batch: int | None = None) -> Server:
        """A server, not yet started.

        Args:
            name: foveal or a peer.
            capacity_per_s: foveal's: a peer's queue holds what that would answer before callers leave.
            batch: in place of that of the peer's configuration.
        """
        advice = None if name == FOVEAL else Advice.read(name)
        wait_s = _QUEUE_SHARE * self.plan.deadline_s
        settings = Settings(
            bundle=str(self.bundle.resolve()),
            port=free_port(),
            workers=len(self._cores),
            batch=batch or (advice.batch if advice else 1),
            batch_wait_ms=advice.batch_wait_ms if advice else 0.0,
            queue_wait_ms=wait_s * 1e3,
            queued=max(2 * len(self._cores), round(wait_s * capacity_per_s)),
            deadline_ms=self.plan.deadline_s * 1e3,
        )
        log = self._work / f"{name}.log"
        return Server(name, settings, environments=self._environments, cores=self._cores, cache=self._cache, log=log)

    async def capacity(self, name: str = FOVEAL, batch: int | None = None) -> dict[int, float]:
        """Right answers a second in a closed loop, by size; its queue is long enough for all callers."""
        with self.server(name, self.plan.callers / (_QUEUE_SHARE * self.plan.deadline_s), batch) as server:
            return await Measurement(server, self.photographs, self.plan).capacity()

    def alone_per_s(self) -> float:
        """What its cores grade a second without a server."""
        files = self.photographs[self.plan.size_px].files
        return alone_per_s(self.bundle, self._cores, files, self.plan.seconds)

    async def turn(self, names: list[str], capacity_per_s: Mapping[int, float], number: int) -> Turn:
        """Every server once.

        Raises:
            NotMeasured: one of them failed twice.
        """
        found = {}
        for name in random.Random(number).sample(names, len(names)):
            try:
                found[name] = await self._whole(name, capacity_per_s, number)
            except NotMeasured as failure:
                print(f"turn {number + 1}: {failure}; once more", file=sys.stderr, flush=True)
                found[name] = await self._whole(name, capacity_per_s, number)
            best = found[name]["closed"][str(self.plan.size_px)]["goodput_per_s"]
            print(f"turn {number + 1}, {name}: {best:.1f} a second in a closed loop", file=sys.stderr, flush=True)
        return {name: found[name] for name in names}

    async def _whole(self, name: str, capacity_per_s: Mapping[int, float], seed: int) -> dict[str, Any]:
        with self.server(name, capacity_per_s[self.plan.size_px]) as server:
            return await Measurement(server, self.photographs, self.plan).whole(capacity_per_s, seed)


@app.default
def main(
    *,
    bundle: Path = ROOT / "models" / "edge",
    photographs: Path = ROOT / "examples" / "photographs",
    peers: tuple[str, ...] = NAMES,
    environments: Path = ENVIRONMENTS,
    work: Path = WORK / "serving",
    plan: Annotated[Plan, Parameter(name="*")] = Plan(),  # noqa: B008 - frozen
    turns: int = 3,
    cores: tuple[int, ...] = (),
    caller_cores: tuple[int, ...] = (),
    caller_nice: int = 0,
    compile_seconds: float = 4.0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure all.

    Args:
        bundle: that all serve.
        photographs: folder of real JPEG photographs, from which those of every size are made.
        peers: those to measure beside foveal.
        environments: folder of the peers' environments, as `install` makes them.
        work: folder for what is compiled, and the servers' logs.
        plan: of the measurement.
        turns: in each of which every server runs once.
        cores: that every server is held to; all by default.
        caller_cores: those of the callers; all by default.
        caller_nice: priority of the callers; -5 keeps a busy server from delaying them (needs root).
        compile_seconds: that `foveal compile` measures each setting.
        json_: write the figures to this file.
    """
    lacking = [name for name in peers if not made.is_made(environments, name)]
    if lacking:
        sys.exit(f"no environment of {', '.join(lacking)} in {environments}; make it: python -m benchmarks peers")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives this
    every = tuple(sorted(os.sched_getaffinity(0)))
    bench = Bench(
        bundle=bundle,
        photographs=photographs,
        environments=environments,
        work=work,
        cores=cores or every,
        plan=plan,
        seconds=compile_seconds,
    )
    os.sched_setaffinity(0, caller_cores or every)
    os.nice(caller_nice)
    found = asyncio.run(measured(bench, [FOVEAL, *peers], turns)) | {
        "bundle": bundle.name,
        "cores": list(cores or every),
        "caller_cores": list(caller_cores or every),
        "caller_nice": caller_nice,
        "servers": {name: about(environments, name) for name in peers},
    }
    if json_ is not None:
        write_json(json_, found)
    print(write_tables(found))


async def measured(bench: Bench, names: list[str], turns: int) -> dict[str, Any]:
    """The document of all turns; of those before a server failed, where one does.

    Raises:
        NotMeasured: one failed in the first turn.
    """
    load_average = os.getloadavg()[0]
    capacity_per_s = await bench.capacity()
    print(f"capacity of foveal, by size: {capacity_per_s}", file=sys.stderr, flush=True)
    rows: list[Turn] = []
    alone: list[float] = []
    for number in range(turns):
        alone.append(bench.alone_per_s())
        print(f"turn {number + 1}, the engine alone: {alone[-1]:.1f} a second", file=sys.stderr, flush=True)
        try:
            rows.append(await bench.turn(names, capacity_per_s, number))
        except NotMeasured as failure:
            if not rows:
                raise
            print(f"{failure}; {len(rows)} whole turns are kept", file=sys.stderr, flush=True)
            break
    plan = bench.plan
    return {
        "date": datetime.date.today().isoformat(),
        "load_average_before": round(load_average, 2),
        "size_px": plan.size_px,
        "deadline_ms": plan.deadline_s * 1e3,
        "seconds": plan.seconds,
        "kilobytes": {str(size): each.kilobytes for size, each in bench.photographs.items()},
        "capacity_per_s": {str(size): round(each, 2) for size, each in capacity_per_s.items()},
        "alone_per_s": spread(alone),
        **compared(rows, plan.size_px),
        "turns": rows,
    }


def about(environments: Path, name: str) -> dict[str, Any]:
    """A peer's version, protocol, batch and environment."""
    advice = Advice.read(name)
    return {
        "package": advice.package,
        "version": version_of(environments, name, advice.package),
        "protocol": advice.protocol,
        "batch": advice.batch,
        "batch_wait_ms": advice.batch_wait_ms,
        "environment_mb": made.megabytes(environments / name),
    }


@app.command
def install(*names: str, environments: Path = ENVIRONMENTS) -> None:
    """Make the peers' environments, where they are not there yet.

    Args:
        names: of peers; all by default.
        environments: folder for them.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"no peer {', '.join(unknown)}; there are {', '.join(NAMES)}")
    for name in names or NAMES:
        print(f"{name}: {made.make(environments, name):g} MB in {environments / name}", flush=True)


@app.command
def tune(
    *,
    bundle: Path = ROOT / "models" / "edge",
    photographs: Path = ROOT / "examples" / "photographs",
    peers: tuple[str, ...] = NAMES,
    environments: Path = ENVIRONMENTS,
    batches: tuple[int, ...] = (2, 4, 8),
    seconds: float = 6.0,
) -> None:
    """Print what each peer answers in a closed loop with each batch, which is what its config.toml's was chosen by.

    Args:
        bundle: that all serve.
        photographs: folder of real ones.
        peers: those to try.
        environments: folder of the peers' environments.
        batches: requests in a batch at most.
        seconds: of each.
    """
    plan = Plan(seconds=seconds, other_sizes_px=())
    cores = tuple(sorted(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(
            bundle=bundle,
            photographs=photographs,
            environments=environments,
            work=Path(work),
            cores=cores,
            plan=plan,
            seconds=1.0,
        )
        for name in peers:
            for batch in batches:
                per_s = asyncio.run(bench.capacity(name, batch))[plan.size_px]
                print(f"{name}, batches of {batch}: {per_s:.1f} a second", flush=True)


@app.command
def render(result: Path, folder: Path) -> None:
    """Write serving_peers.md and serving_peers.svg.

    Args:
        result: JSON that a run wrote.
        folder: for both.
    """
    from peers.render import read, write_plot

    found = read(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serving_peers.md").write_text(write_tables(found), encoding="utf-8")
    write_plot(found, folder / "serving_peers.svg")


if __name__ == "__main__":
    app()
