"""The benchmarks by name: lists them, and runs them one after the other into a folder that names the day and the machine.

    python -m benchmarks list
    python -m benchmarks run several_servers runtime_load
    python -m benchmarks run --all --idrid idrid:PATH
    python -m benchmarks peers                            the environments of other servers, which serving_peers measures

Steps are in plan.toml. Each benchmark leaves NAME.json and NAME.log in benchmarks/results/DATE-MACHINE (or `--results`), and
machine.json says what it ran on: figures of two machines are never compared, ratios within one run are. One that fails is told,
and the others go on. Figures that docs/results.md shows come from benchmarks/results; move a file there to show it
(scripts/figures.py).
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_LIBRARIES = ("onnxruntime", "grpcio", "numpy", "torch")
_LEVELS = (("x86-64-v4, VNNI", "avx512_vnni"), ("x86-64-v4", "avx512f"), ("x86-64-v3, VNNI", "avx_vnni"), ("x86-64-v3", "avx2"))

app = cyclopts.App(name="python -m benchmarks", help=__doc__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One of the plan."""

    name: str
    minutes: float
    steps: tuple[str, ...]

    def needs(self, given: dict[str, str]) -> list[str]:
        """What its steps name and nobody gave."""
        return [
            name
            for name in ("idrid", "lesions", "run")
            if name not in given and any(f"{{{name}}}" in step for step in self.steps)
        ]

    @property
    def text(self) -> str:
        """First sentence of its last script."""
        script = (HERE / self.steps[-1].split()[0]).read_text(encoding="utf-8")
        return script.split('"""', 2)[1].split("\n\n")[0].replace("\n", " ")


def plan() -> dict[str, Benchmark]:
    """Every benchmark by name."""
    document = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    return {name: Benchmark(name=name, minutes=each["minutes"], steps=tuple(each["steps"])) for name, each in document.items()}


def machine() -> dict[str, Any]:
    """What figures depend on beside the code."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    flags = next((set(line.split()) for line in told.splitlines() if line.startswith("flags")), set())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "date": datetime.date.today().isoformat(),
        "processor": next((line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name")), ""),
        "level": next((level for level, flag in _LEVELS if flag in flags), platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def place(found: dict[str, Any]) -> str:
    """Name of the folder of a day on a machine."""
    level = found["level"].replace(", ", "-").lower()
    return f"{found['date']}-{level}-{found['cores']}-cores"


@app.command(name="list")
def list_() -> None:
    """Name every benchmark, about how long it takes, and what it is."""
    for each in plan().values():
        print(f"{each.name:<20}{each.minutes:>5} min  {each.text}")


@app.command
def peers(*names: str, environments: Path = ROOT / "runs" / "benchmarks" / "peers") -> None:
    """Make the environments of other servers, where they are not there yet.

    Args:
        names: triton, bentoml, litserve, ray; all by default.
        environments: folder for them.
    """
    command = [sys.executable, str(HERE / "serving_peers.py"), "install", *names, "--environments", str(environments)]
    sys.exit(subprocess.run(command, check=False).returncode)


@app.command
def run(
    *names: str,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    bundle: Path = ROOT / "models" / "edge",
    photographs: Path = ROOT / "examples" / "photographs",
    idrid: str = "",
    lesions: str = "",
    trained: Annotated[str, Parameter(name="--run")] = "",
    work: Path = ROOT / "runs" / "benchmarks",
    results: Path | None = None,
) -> None:
    """Run benchmarks.

    Args:
        names: of the plan.
        all_: all that what is given is enough for.
        bundle: that is served.
        photographs: folder of those that are sent.
        idrid: as idrid:PATH.
        lesions: folder of lesion masks of those photographs.
        trained: run that `foveal train` wrote, with its data where it was.
        work: folder for what is made on the way, and kept.
        results: folder of the results; benchmarks/results/DATE-MACHINE by default.
    """
    known, found = plan(), machine()
    given = {"bundle": str(bundle), "photographs": str(photographs), "work": str(work)}
    given |= {"idrid": idrid, "lesions": lesions, "run": trained}
    given = {name: value for name, value in given.items() if value}
    unknown = [name for name in names if name not in known]
    if unknown or not (names or all_):
        sys.exit(f"no benchmark {', '.join(unknown)}" if unknown else "name benchmarks, or give --all; `list` has them")
    folder = results or HERE / "results" / place(found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "machine.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    failed = []
    for name in known if all_ else names:
        lacks = known[name].needs(given)
        if lacks:
            print(f"{name}: skipped, give --{' --'.join(lacks)}")
        elif not done(known[name], given, folder):
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their logs are in {folder}")


def done(benchmark: Benchmark, given: dict[str, str], folder: Path) -> bool:
    """Run one; whether every step succeeded."""
    values = {**given, "json": str(folder / f"{benchmark.name}.json")}
    Path(given["work"]).mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"{benchmark.name}: about {benchmark.minutes:g} minutes", flush=True)
    with (folder / f"{benchmark.name}.log").open("w", encoding="utf-8") as log:
        for step in benchmark.steps:
            script, *words = (word.format(**values) for word in shlex.split(step))
            environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
            command = [sys.executable, str(HERE / script), *words]
            code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, env=environment, check=False).returncode
            if code:
                print(f"{benchmark.name}: {script} ended with exit code {code}; see {log.name}")
                return False
    print(f"{benchmark.name}: {(time.monotonic() - started) / 60:.1f} minutes, {values['json']}")
    return True


if __name__ == "__main__":
    app()
