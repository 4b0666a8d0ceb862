"""Memory of worker processes: spawned plainly with compiled graphs mapped, or forked by a zygote that imported what they need.

    foveal compile BUNDLE --graphs-only
    python benchmarks/worker_memory.py BUNDLE PHOTOGRAPH --workers 2 --json benchmarks/results/worker_memory.json

The zygote imports NumPy, Pillow, ONNX Runtime and foveal's engine with one thread (asserted before it forks), as a server would
have to keep it. Both kinds load the graphs, grade the photograph 20 times in batches of two, and give free memory back. Sums
are proportional: a shared page counts once, and the zygote's own memory is part of its sum.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from processes import processes_of

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "MALLOC_ARENA_MAX": "2"}


def work(bundle: Path, photograph: Path, ready: int) -> None:
    """Be a worker that has been busy, and stay."""
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.compiled import find_compiled
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.serving.memory import trim
    from foveal_runtime.study.study import Study

    opened = Bundle.open(bundle)
    engine = Engine(opened, threads=1, max_rows=2, compiled=find_compiled(opened, "cpu"))
    study = Study(image=photograph.read_bytes())
    for _ in range(20):
        engine.run([engine.prepare(study), engine.prepare(study)])
    gc.collect()
    trim()
    os.write(ready, b".")
    os.close(ready)
    time.sleep(600)


def spawned(args: argparse.Namespace, ready: int) -> list[int]:
    command = (sys.executable, __file__, str(args.bundle), str(args.photograph), "--be-worker", str(ready))
    return [subprocess.Popen(command, pass_fds=(ready,)).pid for _ in range(args.workers)]


def forked(args: argparse.Namespace, ready: int) -> list[int]:
    zygote = os.fork()
    if zygote:
        return [zygote]
    import onnxruntime  # noqa: F401
    from PIL import Image, JpegImagePlugin  # noqa: F401

    import foveal_runtime.engine.engine
    import foveal_runtime.engine.selftest  # noqa: F401

    gc.collect()
    gc.freeze()
    for _ in range(args.workers):
        assert len(list(Path("/proc/self/task").iterdir())) == 1, "a zygote may have one thread"
        if os.fork() == 0:
            work(args.bundle, args.photograph, ready)
    os.close(ready)
    time.sleep(600)
    return []


def measure(args: argparse.Namespace, start: object) -> dict[str, object]:
    from foveal_runtime.serving.memory import proportional_bytes

    read, ready = os.pipe()
    roots = start(args, ready)  # type: ignore[operator]
    os.close(ready)  # whoever still holds it may yet become ready
    try:
        if not all(os.read(read, 1) for _ in range(args.workers)):
            sys.exit("a worker ended before it was ready; what it said stands above")
        time.sleep(1)
        each = [round(proportional_bytes(pid) / 1e6, 1) for root in roots for pid in processes_of(root)]
    finally:
        os.close(read)
        for pid in reversed([pid for root in roots for pid in processes_of(root)]):
            os.kill(pid, signal.SIGKILL)
        for root in roots:
            os.waitpid(root, 0)
    return {"processes_mb": each, "sum_mb": round(sum(each), 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--be-worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.be_worker is not None:
        work(args.bundle, args.photograph, args.be_worker)
    document = {
        "workers": args.workers,
        "spawned": measure(args, spawned),
        "forked by a zygote": measure(args, forked),
    }
    print(json.dumps(document, indent=1))
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
