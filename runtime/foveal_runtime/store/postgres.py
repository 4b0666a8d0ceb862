"""The embedded PostgreSQL: `postgres` as our own child on a Unix socket, restarted when it dies, stopped in order.

Not a client: it opens connections only to learn whether the server answers. Making and configuring the data is `cluster`'s.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from foveal_runtime.errors import StoreError
from foveal_runtime.store import cluster, leftovers
from foveal_runtime.store.cluster import APP_ROLE, DATABASE, OWNER_ROLE, ROOT_ROLE, Binaries
from foveal_runtime.store.datafolder import DataFolder, FolderLock, write_config
from foveal_runtime.store.libpq import forget_environment
from foveal_runtime.store.runas import RunAs, check_reach, choose

_log = logging.getLogger(__name__)
_OOM_BELOW = (200, 500)
"""How much lower than foveal's `oom_score_adj` that of PostgreSQL's processes is, and how much lower still the postmaster's:
when memory runs out, the kernel takes foveal's workers and not the archive's. The two variables are PostgreSQL's own (manual,
section 18.4)."""
_FAILURE_COUNTS_S = 60.0
"""A death longer ago than this no longer explains why a connection fails."""
_PATIENCE = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
"""Signals that end PostgreSQL, and seconds to wait after each: a checkpoint takes its time."""
_PATIENCE_AT_START = ((signal.SIGINT, 0.7), (signal.SIGQUIT, 0.3), (signal.SIGKILL, 10.0))
"""The same of one that never served: there is nothing new to write, and recovery begins again at the next start."""

# Replaces itself by postgres. The kernel signals it when the thread that started it dies, so that kill -9 of foveal takes
# PostgreSQL down in order. Set after the change of user, which clears it; in a program of its own, since code between fork
# and exec may not run in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid, below, further = map(int, sys.argv[1:6])
try:  # as root, or where foveal has raised its own: the system lets it take back what it had
    score = "/proc/self/oom_score_adj"
    with open(score, "r+b", 0) as file:
        base = max(-999, int(file.read()) - below)
        file.write(b"%d" % base)
        os.environ.update(PG_OOM_ADJUST_FILE=score, PG_OOM_ADJUST_VALUE=str(base))
        file.write(b"%d" % max(-999, base - further))
except OSError:
    pass
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl(1, signal.SIGINT)
if os.getppid() != parent:
    sys.exit("foveal is gone")
os.umask(0o077)
os.execv(sys.argv[6], sys.argv[6:])
"""


class EmbeddedPostgres:
    """One PostgreSQL over one store folder. Thread-safe; all methods block."""

    def __init__(self, root: Path, *, run_as: str = "", start_timeout_s: float = 3600.0) -> None:
        self._folder = DataFolder(root.expanduser().resolve())
        self._wanted_user = run_as
        self._start_timeout_s = start_timeout_s
        self._lock = FolderLock(self._folder.root)
        self._binaries = Binaries.find()
        self._user: RunAs | None = None
        self._socket: Path | None = None
        self._stopping = threading.Event()
        self._spawned = threading.Event()
        self._spawning = threading.Lock()
        """Held while a child is made, so that `stop` never misses one."""
        self._keeper: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._failure: StoreError | None = None
        self._failed_at = 0.0

    @property
    def folder(self) -> DataFolder:
        """The store folder."""
        return self._folder

    @property
    def user(self) -> RunAs:
        """Who PostgreSQL runs as."""
        assert self._user is not None, "start() first"
        return self._user

    @property
    def pid(self) -> int | None:
        """Process id of the running postmaster."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def conninfo(self, role: str, database: str = DATABASE) -> str:
        """A libpq connection string for a role."""
        from psycopg.conninfo import make_conninfo

        assert self._socket is not None, "start() first"
        return make_conninfo(host=os.fspath(self._socket), port=5432, user=role, dbname=database, connect_timeout=10)

    def start(self) -> None:
        """Take the folder, clear what a killed predecessor left, make the data when it is new, run PostgreSQL and wait for it.

        Raises:
            StoreError: the folder is in use, unusable or of another PostgreSQL version; or PostgreSQL does not start.
            ConfigError: the folder holds something else.
        """
        forget_environment()
        user = choose(self._folder.root, self._wanted_user)
        check_reach(self._binaries.bin, user, what="PostgreSQL's program folder")
        self._folder.claim(user)
        self._lock.acquire()
        try:
            self._folder.prepare(user)
            self._user = user
            cluster.check_version(self._folder)
            leftovers.clear(self._folder, self._stopping)
            if not (self._folder.pgdata / "PG_VERSION").exists():
                cluster.initdb(self._folder, user, self._binaries, self._stopping)
            self._socket = self._folder.socket_folder(user)
            self._configure(user)
            self._keeper = threading.Thread(target=self._keep, name="foveal-postgres", daemon=True)
            self._keeper.start()
            self._wait_until_ready()
            self._bootstrap()
            self._ready = True
            write_config(self._folder.runtime_note, json.dumps({"socket": os.fspath(self._socket), "pid": os.getpid()}))
        except BaseException:
            self.stop()
            raise

    def interrupt(self) -> None:
        """Make a `start` that is under way in another thread fail soon, whatever it waits for. After `start`: nothing."""
        if not self._ready:
            self._told_to_stop()

    def stop(self) -> None:
        """Stop PostgreSQL in order (fast shutdown), insist when it hangs, and give the folder back. Idempotent."""
        child = self._told_to_stop()
        if child is not None:
            for kind, patience_s in _PATIENCE if self._ready else _PATIENCE_AT_START:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(kind)
                try:
                    child.wait(patience_s)
                    break
                except subprocess.TimeoutExpired:
                    _log.warning("PostgreSQL did not stop at %s within %.0f s", kind.name, patience_s)
        if self._keeper is not None:
            self._keeper.join(10.0)
        with contextlib.suppress(OSError):
            self._folder.runtime_note.unlink(missing_ok=True)
        if self._socket is not None:
            self._folder.drop_socket_folder(self._socket)
        self._lock.release()

    def _told_to_stop(self) -> subprocess.Popen[bytes] | None:
        """Tell all that waits, and PostgreSQL, to end. Returns PostgreSQL's process."""
        with self._spawning:
            self._stopping.set()
            if self._child is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._child.send_signal(signal.SIGINT)
            return self._child

    def check_failure(self) -> None:
        """Raise why PostgreSQL died, when it died a short while ago.

        Raises:
            StoreError: with the last words of its log.
        """
        if self._failure is not None and time.monotonic() - self._failed_at < _FAILURE_COUNTS_S:
            raise self._failure

    def _fail(self, error: StoreError) -> None:
        self._failure, self._failed_at = error, time.monotonic()

    def _configure(self, user: RunAs) -> None:
        cluster.configure(self._folder, user)

    def _command(self) -> list[str]:
        conf = self._folder.conf
        assert self._socket is not None
        fixed = {
            # What safety rests on goes on the command line, where no file can override it.
            "config_file": conf / "postgresql.conf",
            "hba_file": conf / "pg_hba.conf",
            "ident_file": conf / "pg_ident.conf",
            "listen_addresses": "",
            "port": 5432,
            "unix_socket_directories": self._socket,
            "unix_socket_permissions": "0700",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
        }
        return [
            self._binaries.path("postgres"),
            "-D",
            os.fspath(self._folder.pgdata),
            *(part for name, value in fixed.items() for part in ("-c", f"{name}={value}")),
        ]

    def _keep(self) -> None:
        """Run PostgreSQL until `stop`; start it again when it dies. This thread is the parent the kernel watches."""
        assert self._user is not None
        pause_s = 0.0
        while not self._stopping.is_set():
            with self._spawning:
                if self._stopping.is_set():
                    return
                try:
                    self._child = self._spawn(self._user)
                except OSError as error:
                    self._fail(StoreError(f"PostgreSQL can't be started: {error.strerror}"))
                    return
                finally:
                    self._spawned.set()
            status = self._child.wait()
            if self._stopping.is_set():
                return
            words = cluster.last_words(cluster.log_text(self._folder))
            self._fail(StoreError(f"PostgreSQL stopped (status {status}): {words}; its log is in {self._folder.log}"))
            _log.error("PostgreSQL stopped (status %d); starting it again", status)
            # At once when it was up, ever slower when it dies at birth (a full disk, say).
            pause_s = 0.1 if leftovers.is_ready(self._folder, self._child.pid) else min(5.0, pause_s * 2 + 0.1)
            if self._stopping.wait(pause_s):
                return
            try:
                leftovers.clear(self._folder, self._stopping)
            except StoreError as error:
                self._fail(error)

    def _spawn(self, user: RunAs) -> subprocess.Popen[bytes]:
        ids = (user.uid, user.gid) if user.switched else (-1, -1)
        with self._folder.start_log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, (os.getpid(), *ids, *_OOM_BELOW)), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=cluster.environment(user),
                # Ctrl-C at foveal's terminal must not reach PostgreSQL before foveal has closed its connections.
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        """Wait until PostgreSQL says so in its own file, through crash recovery of any length."""
        self._spawned.wait(30.0)
        deadline = time.monotonic() + self._start_timeout_s
        said = time.monotonic()
        while not self._stopping.is_set():
            if self._child is None or self._child.poll() is not None:
                # Not left to the restart: at start a failure is told at once.
                self._stopping.set()
                words = cluster.last_words(cluster.log_text(self._folder))
                raise StoreError(f"PostgreSQL does not start in {self._folder.root}: {words}")
            if leftovers.is_ready(self._folder, self._child.pid):
                return
            if time.monotonic() > deadline:
                raise StoreError(
                    f"PostgreSQL in {self._folder.root} is not ready after {self._start_timeout_s:.0f} s;"
                    f" see {self._folder.log}, or raise start_timeout_s"
                )
            if time.monotonic() - said > 10.0:
                said = time.monotonic()
                _log.warning("still waiting for PostgreSQL in %s (recovery after a crash?)", self._folder.root)
            self._stopping.wait(0.02)
        raise StoreError(f"PostgreSQL in {self._folder.root} was stopped before it was ready; start again")

    def _bootstrap(self) -> None:
        """Make what is missing in it. It says that it is ready, so what fails now would fail again."""
        import psycopg

        try:
            cluster.bootstrap(self.conninfo)
        except psycopg.Error as error:
            words = (str(error).splitlines() or ["no reason given"])[0][:300]
            raise StoreError(
                f"PostgreSQL in {self._folder.root} runs and can't be used: {words}; see {self._folder.log}"
            ) from None
        self._failure = None


def running_server(root: Path) -> Callable[[str], str] | None:
    """How to reach the PostgreSQL that another foveal runs in this folder: role to conninfo. None when none does.

    Raises:
        StoreError: the folder is in use and nothing says where its server listens.
    """
    from psycopg.conninfo import make_conninfo

    forget_environment()
    folder = DataFolder(root.expanduser().resolve())
    if not folder.lock_is_held():
        return None
    try:
        socket = json.loads(folder.runtime_note.read_text())["socket"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"store folder {folder.root} is in use, and its server is not ready yet; try again soon") from error
    return lambda role: make_conninfo(host=socket, port=5432, user=role, dbname=DATABASE, connect_timeout=10)


__all__ = ["APP_ROLE", "DATABASE", "OWNER_ROLE", "ROOT_ROLE", "Binaries", "EmbeddedPostgres", "running_server"]
