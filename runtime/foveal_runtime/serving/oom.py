"""Whom Linux ends first when memory runs out: a worker, which is replaced, before the server, and both before PostgreSQL."""

from __future__ import annotations

import contextlib
from pathlib import Path

SERVER, WORKER = 200, 500
"""Added to `oom_score_adj`; PostgreSQL's is lower by the server's (`store.postgres`)."""


def sooner(by: int, pid: int | str = "self", *, proc: Path = Path("/proc")) -> None:
    """Raise a process's `oom_score_adj`, which anybody may do with their own; nothing happens where there is none.

    Args:
        by: above this process's own.
        pid: of the process.
        proc: where the kernel tells of processes.
    """
    with contextlib.suppress(OSError, ValueError):
        own = int((proc / "self" / "oom_score_adj").read_text())
        (proc / str(pid) / "oom_score_adj").write_text(str(min(1000, own + by)))
