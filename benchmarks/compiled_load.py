"""What compiling a bundle gains on this machine: seconds to load its graphs and memory that the process keeps to itself.

    python benchmarks/compiled_load.py runs/idrid/bundle-int8 runs/base/bundle-int8

Each bundle is loaded in two fresh processes, as exported and as `foveal compile` keeps it, and run once on a golden study.
Anonymous memory is what no other worker shares; mapped weights are counted once for all workers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cyclopts

app = cyclopts.App(help=__doc__)


@app.default
def main(bundles: list[Path], /, *, threads: int = 1) -> None:
    """Measure.

    Parameters
    ----------
    bundles
        Folders that `foveal export` wrote.
    threads
        Threads of ONNX Runtime.
    """
    for bundle in bundles:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "FOVEAL_CACHE": cache}
            rows = {}
            for how in ("as exported", "compiled"):
                if how == "compiled":
                    words = [sys.executable, "-m", "foveal_runtime.cli.main", "compile", str(bundle), "--graphs-only"]
                    subprocess.run(words, check=True, capture_output=True, env=environment)
                words = [sys.executable, __file__, "load", str(bundle), "--threads", str(threads)]
                least = [
                    json.loads(subprocess.run(words, check=True, capture_output=True, env=environment).stdout) for _ in range(3)
                ]
                rows[how] = min(least, key=lambda row: row["load_s"])
        print(json.dumps({"bundle": bundle.name, **rows}))


@app.command
def load(bundle: Path, /, *, threads: int = 1) -> None:
    """One process's part: load, run, tell.

    Parameters
    ----------
    bundle
        Folder that `foveal export` wrote.
    threads
        Threads of ONNX Runtime.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.bundle.golden import read_golden
    from foveal_runtime.engine.compiled import find_compiled
    from foveal_runtime.engine.engine import Engine

    opened = Bundle.open(bundle)
    compiled = find_compiled(opened, "cpu")
    started = time.perf_counter()
    engine = Engine(opened, threads=threads, compiled=compiled)
    load_s = time.perf_counter() - started
    engine.run([engine.prepare(read_golden(opened).studies[-1])])
    memory = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        memory[name] = int(value.split()[0]) / 1e3
    row = {"load_s": round(load_s, 3), "resident_mb": round(memory["Rss"]), "anonymous_mb": round(memory["Anonymous"])}
    print(json.dumps({**row, "compiled_mb": 0 if compiled is None else round(compiled.bytes / 1e6)}))


if __name__ == "__main__":
    app()
