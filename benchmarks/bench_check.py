"""Has serving become slower? This checkout against another commit and against itself, in turns of one run of five minutes.

    python benchmarks/bench_check.py --against HEAD~10 --json OUT.json

Each turn serves `--bundle` three times in drawn order: by this checkout, by this checkout again, and by a copy of the other
commit. Photographs answered a second, and for a second of processor time, are compared within each turn. The two runs of this
checkout say what the machine's noise is: a loss counts where it is more than that noise, and then the exit code is 1.
`--against` is the commit before the last one by default; name the last release's for more.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from against_commit import compiled, turn
from runtime_load import load_photographs, report

HERE = Path(__file__).resolve().parents[1]
NOW, AGAIN, BEFORE = "now", "now again", "before"


async def measure(args: argparse.Namespace, other: Path, scratch: Path) -> dict[str, Any]:
    """All turns."""
    photographs = load_photographs(args.photographs, 32)
    sides = {NOW: HERE, AGAIN: HERE, BEFORE: other}
    caches = {
        checkout: compiled(checkout, args.bundle, scratch / f"cache-{number}") for number, checkout in enumerate((HERE, other))
    }
    rates: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    order = list(sides)
    for _ in range(args.turns):
        random.shuffle(order)
        for side in order:
            checkout = sides[side]
            rates[side].append(
                await turn(checkout, args.bundle, caches[checkout], photographs, callers=args.callers, seconds=args.seconds)
            )
    return {"against": args.against, "turns": args.turns, **judged(rates)}


def judged(rates: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Ratios of this checkout over the other, the noise, and whether anything was lost."""
    found: dict[str, Any] = {"lost": []}
    for name in ("per_s", "per_cpu_s"):
        now, again, before = ([each[name] for each in rates[side]] for side in (NOW, AGAIN, BEFORE))
        own = [one / other for one, other in zip(now, again, strict=True)]
        ratios = [(one + other) / 2 / old for one, other, old in zip(now, again, before, strict=True)]
        # Of a median of so many turns; 1.25 is that of normal noise over a mean's.
        noise = 2 * 1.25 * statistics.stdev(own) / len(own) ** 0.5
        ratio = statistics.median(ratios)
        found[name] = {"ratio": round(ratio, 3), "noise": round(noise, 3), "own": [round(each, 3) for each in own]}
        if ratio < 1 - noise:
            found["lost"].append(f"{name}: {ratio:.3f} of before, with noise of {noise:.3f}")
    return found


def main() -> int:
    """Compare; 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="HEAD~1", help="commit")
    parser.add_argument("--bundle", type=Path, default=HERE / "models" / "edge")
    parser.add_argument("--photographs", type=Path, default=HERE / "examples" / "photographs")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(other), args.against], cwd=HERE, check=True)
        try:
            found = asyncio.run(measure(args, other, Path(folder)))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=HERE, check=False)
    report(found, args.json)
    for loss in found["lost"]:
        print(f"slower than {args.against}: {loss}", file=sys.stderr)
    return 1 if found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
