"""Photographs graded a second through gRPC by this checkout and by another one, in turns of one run.

    git worktree add /tmp/before COMMIT
    python benchmarks/against_commit.py PHOTOS --before /tmp/before --before-bundle OLD --bundle NEW --turns 5 \\
        --json benchmarks/results/against_commit.json

Each turn starts a real `foveal serve` of either checkout (cache off, its own plan of `foveal compile`, measured before),
sends it one photograph a call from 32 callers in a closed loop, and ends it. Client and server share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import cpu_s, processes_of
from runtime_load import Caller, load_photographs, report, start_server
from spread import ratio

_WARM_S = 2.0


def environment(checkout: Path, cache: str) -> dict[str, str]:
    rooms = ":".join(str(checkout / room) for room in ("runtime", "train", "export"))
    return {**os.environ, "PYTHONPATH": rooms, "FOVEAL_CACHE": cache, "OMP_NUM_THREADS": "1"}


async def turn(
    checkout: Path, bundle: Path, cache: str, photographs: list[bytes], *, callers: int, seconds: float
) -> dict[str, float]:
    """What one server answers: photographs a second, and for a second of processor time."""
    process, address, _ = start_server(bundle.resolve(), [], env=environment(checkout, cache))
    try:
        caller = Caller(address, photographs, 1)
        await caller.closed(caller.single, callers, _WARM_S)
        before = cpu_s(processes_of(process.pid))
        per_s, _ = await caller.closed(caller.single, callers, seconds)
        used = cpu_s(processes_of(process.pid)) - before
        await caller.channel.close()
        return {"per_s": per_s, "per_cpu_s": per_s * seconds / used}
    finally:
        process.terminate()
        process.wait(60)


def compiled(checkout: Path, bundle: Path, cache: Path) -> str:
    """A cache of its own for a side, which holds the bundle's compiled graphs."""
    cache.mkdir(mode=0o700)
    command = (sys.executable, "-m", "foveal_runtime.cli.main", "compile", str(bundle.resolve()))
    subprocess.run(command, env=environment(checkout, str(cache)), check=True, stdout=subprocess.DEVNULL)
    return str(cache)


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    photographs = load_photographs(args.photos, 32)
    here = Path(__file__).resolve().parents[1]
    rates: dict[str, list[float]] = {"before": [], "now": []}
    sides = {"before": (args.before, args.before_bundle), "now": (here, args.bundle)}
    with tempfile.TemporaryDirectory() as folder:
        caches = {side: compiled(*at, Path(folder) / side) for side, at in sides.items()}
        for number in range(args.turns):
            for side in ("before", "now") if number % 2 == 0 else ("now", "before"):
                found = await turn(*sides[side], caches[side], photographs, callers=args.callers, seconds=args.seconds)
                rates[side].append(round(found["per_s"], 1))
                print(side, rates[side][-1], file=sys.stderr)
    return {
        "callers": args.callers,
        "photographs": len(photographs),
        "per_s": rates,
        "ratio": ratio(rates["now"], rates["before"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the other commit")
    parser.add_argument("--before-bundle", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report(asyncio.run(measure(args)), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
