"""What a killed foveal or PostgreSQL left running or lying in a data folder, found and cleared safely.

Called with the folder's lock held, so whatever still runs there has no living foveal. A process is only ever taken for
PostgreSQL's when it listens on the folder's own socket or works inside the data folder: a process id read from a file proves
nothing, since ids are reused.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from foveal_runtime.errors import StoreError
from foveal_runtime.store.datafolder import SOCKET_NAME, DataFolder

_log = logging.getLogger(__name__)
_PID_FILE = "postmaster.pid"
_STATUS_LINE = 7
"""Of that file: "starting", "ready", "stopping"; what `pg_ctl --wait` reads."""


def clear(folder: DataFolder, stopping: threading.Event) -> None:
    """Stop an orphaned PostgreSQL of this folder, wait for its last process, and remove stale pid and socket files.

    Args:
        folder: of the store.
        stopping: ends the wait.

    Raises:
        StoreError: something of PostgreSQL's is still alive after stronger signals, or it was told to stop waiting.
    """
    sockets = _sockets(folder)
    for path in sockets:
        pid = listener(path)
        if pid and _works_in(pid, folder.pgdata):
            _log.warning("stopping an orphaned PostgreSQL (process %d) left by a foveal that was killed", pid)
            _signal(pid, signal.SIGINT)
    began = time.monotonic()
    signals = [signal.SIGQUIT, signal.SIGKILL]
    while left := workers_in(folder.pgdata):
        # An orderly stop writes out what is in memory and gets its time. Children of a killed postmaster leave by
        # themselves and have nothing to save.
        patience_s = 60.0 if _pid_of(folder) in left else 2.0
        if time.monotonic() - began > patience_s:
            if not signals:
                raise StoreError(
                    f"PostgreSQL processes {', '.join(map(str, left))} of a previous run still use {folder.pgdata} and don't"
                    " stop; end them, then start again"
                )
            began, kind = time.monotonic(), signals.pop(0)
            for pid in left:
                _signal(pid, kind)
        if stopping.wait(0.02):
            raise StoreError(f"stopped while a previous run's PostgreSQL still used {folder.pgdata}; start again")
    for path in sockets:
        if listener(path):
            raise StoreError(f"another program listens on {path}; stop it, then start again")
        for stale in (path, path.with_name(path.name + ".lock")):
            with contextlib.suppress(FileNotFoundError):
                stale.unlink()
        folder.drop_socket_folder(path.parent)
    # PostgreSQL would refuse to start if the id in this file now belonged to another process of its user.
    with contextlib.suppress(FileNotFoundError):
        (folder.pgdata / _PID_FILE).unlink()


def _pid_of(folder: DataFolder) -> int:
    """The postmaster's id as its file has it, which alone proves nothing; 0 without a file."""
    try:
        return int((folder.pgdata / _PID_FILE).read_text(errors="replace").split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def is_ready(folder: DataFolder, pid: int) -> bool:
    """Whether the postmaster of that id says in its file that it takes connections, or did before it died."""
    try:
        lines = (folder.pgdata / _PID_FILE).read_text(errors="replace").splitlines()
    except OSError:
        return False
    return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"


def _sockets(folder: DataFolder) -> list[Path]:
    """Where a server of this folder may listen: our own place, and the place its pid file names if that is a place we make."""
    places = [folder.root / "run"]
    try:
        lines = (folder.pgdata / _PID_FILE).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    if len(lines) > 4 and lines[4].strip():
        named = Path(lines[4].strip())
        if named.name.startswith("foveal-") and named not in places:
            places.append(named)
    return [place / SOCKET_NAME for place in places]


def listener(path: Path) -> int:
    """The process that listens on a Unix socket; 0 when none does. On systems without SO_PEERCRED, -1 for some process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(os.fspath(path))
        except OSError:
            return 0
        if not hasattr(socket, "SO_PEERCRED"):
            return -1
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)


def workers_in(pgdata: Path) -> list[int]:
    """Processes whose working folder is this data folder: PostgreSQL's, since it enters it and nothing else does."""
    if not sys.platform.startswith("linux"):
        return []
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _works_in(int(p.name), pgdata)]


def _works_in(pid: int, pgdata: Path) -> bool:
    try:
        there = Path(f"/proc/{pid}/cwd").stat()
        here = pgdata.stat()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) and name.startswith("postgres")


def _signal(pid: int, kind: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, kind)
