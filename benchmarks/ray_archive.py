"""An archive on disk to vectors: `foveal embed --ray` and `foveal index`, against decode and graphs at full use of the cores.

    python benchmarks/ray_archive.py --bundle models/edge --photographs examples/photographs --json OUT.json

The photographs are copied until there are `--count`, each made different by a comment in its JPEG, so that none is a copy. The
floor is what the same engine takes in a process a core, each reading, decoding and running one photograph after another, with
nobody to hand them on. Wall time of each way is from the first photographs to the last: starting Ray, loading the bundle and
the self-test are told apart (`start_s`), since an archive of a year pays for them once.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.local_server import FOVEAL, LocalServer
from foveal_runtime.engine.answers import VectorKind
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.ort import usable_cores
from foveal_runtime.study.study import Study
from foveal_train.runs.run import write_json
from spread import spread

app = cyclopts.App(help=__doc__)
_COUNTED = re.compile(r"(\d+) of \d+")


def make_archive(folder: Path, photographs: list[bytes], count: int) -> None:
    """So many files, none with the bytes of another."""
    for i in range(count):
        data = photographs[i % len(photographs)]
        comment = b"%08d" % i
        (folder / f"{i:06d}.jpg").write_bytes(
            data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
        )


def floor_s(bundle: Path, archive: Path) -> float:
    """Decode and graphs, a process a core."""
    files, cores = sorted(archive.iterdir()), usable_cores()
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_begin, initargs=(bundle,)) as pool:
        list(pool.map(_one, files[: 8 * cores]))  # every process has loaded its engine
        started = time.monotonic()
        list(pool.map(_one, files))
        return time.monotonic() - started


_engines: list[Engine] = []
"""Of a process of `floor_s`."""


def _begin(bundle: Path) -> None:
    _engines.append(Engine(Bundle.open(bundle), threads=1, max_rows=1))


def _one(file: Path) -> None:
    (engine,) = _engines
    engine.run([engine.prepare(Study(image=file.read_bytes()))], kinds=frozenset({VectorKind.JOINT}), grade=True)


def timed(command: list[str]) -> dict[str, float]:
    """A command's wall time from its first photograph to its last, and before the first: it tells them as they come."""
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    moments, lines = [], []
    for line in process.stderr:
        lines.append(line)
        if found := _COUNTED.search(line):
            moments.append((time.monotonic(), int(found.group(1))))
    if process.wait() != 0:
        raise SystemExit("".join(lines))
    (first, before), (last, after) = moments[0], moments[-1]
    return {
        "start_s": first - started,
        "each_s": (last - first) / max(1, after - before),
        "whole_s": time.monotonic() - started,
    }


@app.default
def main(
    *,
    bundle: Path,
    photographs: Path,
    count: int = 600,
    turns: int = 3,
    store: bool = True,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare the ways.

    Args:
        bundle: that embeds.
        photographs: folder of those that are copied.
        count: photographs of the archive.
        turns: of each way.
        store: also `foveal index` into a server's archive; needs foveal[store].
        json_: write the figures to this file.
    """
    pictures = [path.read_bytes() for path in sorted(photographs.glob("*.jpg"))]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)  # PostgreSQL's user has to reach its folder
        archive = Path(name) / "archive"
        archive.mkdir()
        make_archive(archive, pictures, count)
        for turn in range(turns):
            row: dict[str, Any] = {"floor_each_s": floor_s(bundle, archive) / count}
            row["ray"] = timed([*FOVEAL, *_ray(bundle, archive, Path(name) / f"out-{turn}")])
            if store:
                row["index"] = _indexed(bundle, archive, Path(name) / f"store-{turn}")
            rows.append(row)
    ways = [way for way in ("ray", "index") if way in rows[0]]
    found = {
        "bundle": bundle.name,
        "photographs": count,
        "cores": usable_cores(),
        "turns": rows,
        "ratio": {way: spread([row[way]["each_s"] / row["floor_each_s"] for row in rows]) for way in ways},
    }
    if json_ is not None:
        write_json(json_, found)
    for key, value in found.items():
        print(f"{key}: {value}")


def _ray(bundle: Path, archive: Path, out: Path) -> list[str]:
    flags = ["--allow-unverified", "--allow-untrained"]
    return ["embed", str(archive), "--ray", "--bundle", str(bundle), "--out", str(out), *flags]


def _indexed(bundle: Path, archive: Path, store: Path) -> dict[str, float]:
    with ExitStack() as stack:
        flags = ("--cache-entries", "0", "--allow-unverified", "--allow-untrained", "--store", str(store))
        server = stack.enter_context(LocalServer(bundle, *flags, echo=sys.stderr.write))
        return timed([*FOVEAL, "index", str(archive), "--kind", "joint", "--address", server.address])


if __name__ == "__main__":
    app()
