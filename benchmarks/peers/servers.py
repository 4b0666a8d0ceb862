"""foveal's server and its peers as processes: started alike on the same cores, watched as whole families, ended whole.

A family is everything that carries this start's mark in its environment, and the children of the process that was started:
Ray's processes, for example, are not all below it in the tree.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from foveal_runtime.serving.memory import proportional_bytes
from peers.environments import python_of, triton_home
from peers.settings import HERE, Settings
from processes import cpu_s, processes_of

ROOT = HERE.parents[1]
FOVEAL = "foveal"
_MARK = "FOVEAL_PEER_MARK"
_STOP_S = 30.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"  # would make every start compile what it imports


class Server:
    """`with Server(...) as server:`; started when the block begins, and no process of its left after it."""

    def __init__(
        self, name: str, settings: Settings, *, environments: Path, cores: Sequence[int], cache: Path, log: Path
    ) -> None:
        """Args:
        name: foveal, or one of `settings.NAMES`.
        settings: of it; its port is free.
        environments: folder of the peers' environments.
        cores: on which all its processes run.
        cache: where `foveal compile` kept the bundle's graphs.
        log: file to append what it prints to.
        """
        self.name, self.settings = name, settings
        self.address = f"127.0.0.1:{settings.port}"
        self._environments, self._cores, self._cache, self._log = environments, cores, cache, log
        self._mark = secrets.token_hex(8)

    def __enter__(self) -> Self:
        # Short: Ray's sockets lie in it, and a socket's path is limited to 107 bytes.
        self._scratch = Path(tempfile.mkdtemp(prefix="peer-", dir="/tmp"))
        paths = os.pathsep.join(map(str, (ROOT / "runtime", ROOT / "benchmarks")))
        kept = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
        environment = {
            **kept,
            **self.settings.environment(),
            **dict.fromkeys(_THREADS, "1"),  # there is a process a core
            "PYTHONPATH": paths,
            "FOVEAL_CACHE": str(self._cache),
            "FOVEAL_PEER_SCRATCH": str(self._scratch),
            "BENTOML_HOME": str(self._scratch),
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "180",  # a busy machine takes longer than Ray's own minutes
            _MARK: self._mark,
        }
        command = [*_pinned(self._cores), *self._command(environment)]
        self.started_s = time.perf_counter()
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"--- {self.name}\n")
            log.flush()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._scratch,
                start_new_session=True,
            )
        return self

    def _command(self, environment: dict[str, str]) -> list[str]:
        if self.name == FOVEAL:
            flags = ["--address", self.address, "--cache-entries", "0", "--allow-unverified", "--allow-untrained"]
            return [sys.executable, "-m", "foveal_runtime.cli.main", "serve", self.settings.bundle, *flags]
        python = python_of(self._environments, self.name)
        if self.name == "bentoml":
            where = ["--host", "127.0.0.1", "--port", str(self.settings.port), "--working-dir", str(HERE / "bentoml")]
            return [str(python), "-m", "bentoml", "serve", "service:Photograph", *where]
        if self.name == "triton":
            return self._triton(environment)
        return [str(python), str(HERE / self.name / "serve.py")]

    def _triton(self, environment: dict[str, str]) -> list[str]:
        place = self._environments / "triton"
        home, repository = triton_home(place), self._scratch / "repository"
        shutil.copytree(HERE / "triton" / "foveal", repository / "foveal", ignore=shutil.ignore_patterns("__pycache__"))
        config, given = repository / "foveal" / "config.pbtxt", self.settings
        values = asdict(given) | {
            "batch_wait_us": int(given.batch_wait_ms * 1e3),
            "queue_wait_us": int(given.queue_wait_ms * 1e3),
        }
        text = "".join(line for line in config.read_text().splitlines(keepends=True) if not line.startswith("#"))
        config.write_text(string.Template(text).substitute(values))
        environment["FOVEAL_PEER_PATH"] = environment.pop("PYTHONPATH") + os.pathsep + str(home.parents[1])
        command = [str(home / "bin" / "tritonserver"), f"--model-repository={repository}", "--disable-auto-complete-config"]
        command += [f"--backend-directory={home / 'backends'}", "--grpc-address=127.0.0.1", f"--grpc-port={given.port}"]
        return [*command, "--allow-http=false", "--allow-metrics=false"]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_S)
        while left := self.pids():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            time.sleep(0.05)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def pids(self) -> list[int]:
        """Its whole family, as it is now."""
        own: set[int] = set()
        with suppress(OSError):
            own.update(processes_of(self.process.pid))
        mark = f"{_MARK}={self._mark}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    if mark in (entry / "environ").read_bytes():
                        own.add(int(entry.name))
        return [pid for pid in sorted(own) if _lives(pid)]

    def cpu_s(self) -> float:
        """Processor time of the family so far."""
        return cpu_s(self.pids())

    def pss_mb(self) -> float:
        """Memory of the family, every page once."""
        return round(sum(map(proportional_bytes, self.pids())) / (1 << 20), 1)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _pinned(cores: Sequence[int]) -> list[str]:
    return ["taskset", "--cpu-list", ",".join(map(str, cores))]


def compile_graphs(bundle: Path, cache: Path, cores: Sequence[int], seconds: float) -> None:
    """`foveal compile`, on the cores that are to serve: what foveal's server and its peers' engines load.

    Raises:
        subprocess.CalledProcessError: compiled graphs are out of tolerance.
    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = ["compile", str(bundle), "--seconds", str(seconds)]
    environment = {**os.environ, "FOVEAL_CACHE": str(cache), "PYTHONPATH": str(ROOT / "runtime")}
    command = [*_pinned(cores), sys.executable, "-m", "foveal_runtime.cli.main", *words]
    subprocess.run(command, env=environment, check=True)


def version_of(environments: Path, name: str, package: str) -> str:
    """Version of a peer's distribution in its environment."""
    words = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    done = subprocess.run(
        [str(python_of(environments, name)), "-c", words, package], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
