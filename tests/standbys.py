"""A PostgreSQL over TCP and real streaming standbys of it, which can be killed, delayed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from regions import SECRET, TcpPostgres

from foveal_runtime.rpc.address import free_port
from foveal_runtime.store.cluster import Binaries
from foveal_runtime.store.datafolder import write_config
from foveal_runtime.store.postgres import ROOT_ROLE
from foveal_runtime.store.runas import RunAs

_AS_OWNER = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions")
"""A standby refuses to answer where one of these is lower than its owner's."""


class Owner(TcpPostgres):
    """The embedded server over TCP, with a log that standbys can stream."""

    def _configure(self, user: RunAs) -> None:
        super()._configure(user)
        hba = self.folder.conf / "pg_hba.conf"
        write_config(hba, hba.read_text() + "host replication streamer 127.0.0.0/8 scram-sha-256\n")

    def _command(self) -> list[str]:
        return [*super()._command(), "-c", "wal_level=replica", "-c", "max_wal_senders=8", "-c", "wal_keep_size=256MB"]

    def url(self, role: str = "region_owner", database: str = "region") -> str:
        """Where it is, without a password."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """All of its processes stand still: connections stay open, and nothing answers."""
        assert self.pid is not None
        with _stopped(self.pid):
            yield

    def sql(self, statement: str, database: str = "region") -> Any:
        """The first value of an answer, asked as the superuser."""
        with psycopg.connect(self.conninfo(ROOT_ROLE, database), autocommit=True) as connection:
            return _first(connection.execute(statement))


class Standby:
    """A streaming standby of an `Owner`, made by pg_basebackup."""

    def __init__(self, owner: Owner, folder: Path) -> None:
        self._owner = owner
        self._data = folder / "data"
        self._log = folder / "log"
        self._binaries = Binaries.find()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        if owner.user.switched:
            os.chown(folder, owner.user.uid, owner.user.gid)
        folder.chmod(0o700)
        source = f"host=127.0.0.1 port={owner.port} user=streamer password={SECRET}"
        self._run(
            "pg_basebackup", "-d", source, "-D", os.fspath(self._data), "-R", "-X", "stream", "-c", "fast"
        ).check_returncode()

    def _ids(self) -> dict[str, Any]:
        user = self._owner.user
        return {"user": user.uid, "group": user.gid, "extra_groups": []} if user.switched else {}

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self._binaries.path(program), *words], cwd="/", check=False, timeout=120, **self._ids())

    def start(self) -> None:
        """Run it, and wait until it answers."""
        settings = {name: self._owner.sql(f"SHOW {name}") for name in _AS_OWNER}
        settings |= {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "hba_file": self._owner.folder.conf / "pg_hba.conf",
            "ident_file": self._owner.folder.conf / "pg_ident.conf",
            "shared_buffers": "32MB",
            "fsync": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [self._binaries.path("postgres"), "-D", os.fspath(self._data), *words]
        give_up = time.monotonic() + 120
        while True:
            if self._process is None or self._process.poll() is not None:
                # Those that a killed one left behind may hold its shared memory for a moment.
                with self._log.open("ab") as log:
                    self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._ids())
            try:
                assert self.sql("SELECT pg_is_in_recovery()") is True
                return
            except psycopg.OperationalError:
                assert time.monotonic() < give_up, self._log.read_text()
            time.sleep(0.1)

    def sql(self, statement: str) -> Any:
        """The first value of an answer, asked as the superuser."""
        where = f"host=127.0.0.1 port={self.port} user=streamer password={SECRET} dbname=region connect_timeout=5"
        with psycopg.connect(where, autocommit=True) as connection:
            return _first(connection.execute(statement))

    def url(self, role: str = "region_owner", database: str = "region") -> str:
        """Where it is, without a password."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def kill(self) -> None:
        """SIGKILL to the postmaster: its other processes end by themselves."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """All of its processes stand still: connections stay open, and nothing answers."""
        assert self._process is not None
        with _stopped(self._process.pid):
            yield

    @contextmanager
    def delayed(self) -> Iterator[None]:
        """It receives the log and replays none of it."""
        self.sql("SELECT pg_wal_replay_pause()")
        give_up = time.monotonic() + 60
        while self.sql("SELECT pg_get_wal_replay_pause_state()") != "paused":
            assert time.monotonic() < give_up
            time.sleep(0.02)
        try:
            yield
        finally:
            self.sql("SELECT pg_wal_replay_resume()")

    def caught_up(self) -> None:
        """Wait until it shows all that its owner has."""
        wanted = self._owner.sql("SELECT pg_current_wal_lsn()::text")
        give_up = time.monotonic() + 60
        while not self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{wanted}'::pg_lsn"):
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)


@contextmanager
def _stopped(postmaster: int) -> Iterator[None]:
    pids = [postmaster, *(int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _first(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


@contextmanager
def streaming(folder: Path, standbys: int = 1) -> Iterator[tuple[Owner, list[Standby]]]:
    """An owner with the database `region` and as many running standbys."""
    owner = Owner(folder / "store")
    owner.port = free_port()
    owner.start()
    with ExitStack() as stack:
        stack.callback(owner.stop)
        owner.sql(f"CREATE ROLE streamer LOGIN SUPERUSER REPLICATION PASSWORD '{SECRET}'", "postgres")
        for role in ("region_owner", "region_app"):
            owner.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'", "postgres")
        owner.sql("CREATE DATABASE region OWNER region_owner", "postgres")
        owner.sql("CREATE DATABASE other OWNER region_owner", "postgres")
        owner.sql("CREATE EXTENSION vector")
        made = []
        for number in range(standbys):
            standby = Standby(owner, folder / f"standby-{number}")
            standby.start()
            stack.callback(standby.stop)
            made.append(standby)
        yield owner, made
