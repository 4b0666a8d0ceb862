"""Run the make half of `foveal demo` over seeds and thread counts, and record exit code, seconds and what export said.

    python benchmarks/demo_seeds.py --seeds 10 --threads 1 2 --out benchmarks/results/demo_seeds.json
    python benchmarks/demo_seeds.py --seeds 3 --threads 1 --out /tmp/some.json --work /tmp/demos

A run that is in the result file is not made again.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import cyclopts

from foveal_runtime.cli.local_server import FOVEAL
from foveal_train.runs.run import write_json

app = cyclopts.App(help=__doc__)


@app.default
def main(
    *,
    out: Path,
    seeds: int = 10,
    threads: Annotated[list[int] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    work: Path | None = None,
) -> None:
    """Run and record."""
    document = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"runs": []}
    document.update(
        command=" ".join(sys.argv), processor=platform.processor() or platform.machine(), date=time.strftime("%Y-%m-%d")
    )
    done = {(run["seed"], run["threads"]) for run in document["runs"]}
    folder = work or Path(tempfile.mkdtemp(prefix="foveal-seeds-"))
    for seed in range(seeds):
        for count in threads or [1, 2]:
            if (seed, count) not in done:
                document["runs"].append(_run(folder / f"seed-{seed}-threads-{count}", seed, count))
                write_json(out, document)
                print(json.dumps(document["runs"][-1]))
    runs = document["runs"]
    print(
        f"{sum(run['exit'] == 0 for run in runs)} of {len(runs)} exit 0, "
        f"{sum(run['within_budget'] for run in runs)} within the default budget"
    )


def _run(folder: Path, seed: int, threads: int) -> dict[str, object]:
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = [*FOVEAL, "demo", "--half", "make", "--seed", str(seed), "--out", str(folder), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(done.stdout)["halves"]["make"] if done.returncode == 0 else {"steps": []}
    steps = {step["step"]: step for step in result["steps"]}
    exported = steps.get("export INT8", {}).get("result", "")
    return {
        "seed": seed,
        "threads": threads,
        "exit": done.returncode,
        "seconds": round(time.monotonic() - begin, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "within_budget": bool(exported) and "out of the default budget" not in exported,
        "steps": {name: step["seconds"] for name, step in steps.items()},
        "export": exported,
        "verify": steps.get("verify against PyTorch", {}).get("result", ""),
        "evaluate": steps.get("evaluate", {}).get("result", ""),
        "error": "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1],
    }


if __name__ == "__main__":
    app()
