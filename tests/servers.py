"""A real `foveal serve` process for tests: start it, learn its address and its workers, end it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from foveal_runtime.cli.local_server import FOVEAL, READY_S, STOP_S, LocalServer
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.client.channel import open_channel


@contextlib.contextmanager
def reachable_folder() -> Iterator[Path]:
    """An empty folder that PostgreSQL's user can reach: pytest's own are closed to it when the tests run as root."""
    # In memory where there is room: initdb syncs a thousand files.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30
    folder = Path(tempfile.mkdtemp(prefix="foveal-test-", dir=memory if roomy else None))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class RunningServer(LocalServer):
    """`with RunningServer(bundle, "--workers", "2") as server:`, with what tests want to know of it."""

    def __init__(
        self,
        bundle: Path,
        *flags: str,
        config: str = "",
        folder: Path | None = None,
        python: Path | str = sys.executable,
        env: dict[str, str] | None = None,
        workers: int | None = 1,
        ready_s: float = READY_S,
        stop_s: float = STOP_S,
    ) -> None:
        """Args:
        bundle: what to serve.
        flags: more of `foveal serve`.
        config: TOML text of a configuration file, written into `folder`.
        folder: scratch space.
        python: the environment whose foveal is started.
        env: variables to add.
        workers: how many, unless the flags say; None is as many as foveal takes by itself.
        ready_s: within which it has to serve.
        stop_s: within which it has to end.
        """
        if workers is not None and "--workers" not in flags:
            flags = ("--workers", str(workers), *flags)
        if config:
            assert folder is not None
            (folder / "serve.toml").write_text(config)
            flags = (*flags, "--config", str(folder / "serve.toml"))
        script = (str(python), *FOVEAL[1:])
        environment, own = {"OMP_NUM_THREADS": "1", **(env or {})}, str(python) == sys.executable
        patience = {"ready_s": ready_s, "stop_s": stop_s}
        super().__init__(bundle, "-v", *flags, foveal=script, env=environment, echo=None, ends_itself=own, **patience)

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        return super().__enter__()

    def wait_for(self, text: str, timeout_s: float = 10) -> None:
        """Wait until stderr says so."""
        end = time.monotonic() + timeout_s
        while text not in self.log:
            assert time.monotonic() < end, f"{text!r} not in:\n{self.log}"
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """Pids of the live worker processes."""
        pids = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return sorted(int(pid) for children in pids for pid in children.read_text().split())

    @contextlib.contextmanager
    def stopped_worker(self) -> Iterator[Callable[[], None]]:
        """One worker that computes stands still until what is given is called, or the block ends."""
        pid = next(pid for pid in self.workers() if b"serving.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield lambda: os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)

    def client(self, **options: object) -> Client:
        """A client of this server."""
        return Client(self.address, ClientOptions(**{"timeout_s": 30.0, **options}))  # type: ignore[arg-type]

    def figures(self, never: Sequence[str] = ()) -> dict[str, float]:
        """What Prometheus finds, by name and labels, of a server with --metrics; `never` stands nowhere in it."""
        address = next(line.split()[-1] for line in self.lines if "metrics on " in line)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        assert not [each for each in never if each in text]
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def health(self, service: str = "") -> str:
        """What the health service says."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with open_channel(self.address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
