"""Around a store: libpq's environment, signals while it starts, names of folders, umasks. On a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_bundle
from servers import reachable_folder

from foveal_runtime.errors import ConfigError, StoreError
from foveal_runtime.store import Archive, StoreOptions
from foveal_runtime.store.backup import dump, restore
from foveal_runtime.store.cluster import Binaries
from foveal_runtime.store.database import Database
from foveal_runtime.store.datafolder import write_config
from foveal_runtime.store.leftovers import workers_in
from foveal_runtime.store.postgres import ROOT_ROLE, EmbeddedPostgres
from foveal_runtime.store.runas import RunAs

from .conftest import SPACE, make_entries, orphaned

QUIET = StoreOptions(maintain=False)
ELSEWHERE = "127.0.0.9"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as another user under root alone")
SOON_S = 15.0
"""Where the wait itself would last a minute or an hour: a loaded machine is slow, and no patience has an end so soon."""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder with a store in it that has served before."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "store")
        server.start()
        server.stop()
        yield folder


# --- libpq's environment ----------------------------------------------------------------------------------------------

HOSTILE = {
    "PGSERVICE": "nowhere", "PGSERVICEFILE": "/nonexistent", "PGSYSCONFDIR": "/nonexistent", "PGHOST": "db.invalid",
    "PGHOSTADDR": ELSEWHERE, "PGPORT": "1", "PGUSER": "somebody", "PGDATABASE": "elsewhere", "PGPASSWORD": "secret",
    "PGPASSFILE": "/nonexistent", "PGOPTIONS": "-c search_path=nowhere -c statement_timeout=1", "PGSSLMODE": "verify-full",
    "PGREQUIREAUTH": "scram-sha-256", "PGCHANNELBINDING": "require", "PGGSSENCMODE": "require", "PGREQUIREPEER": "nobody-else",
    "PGTARGETSESSIONATTRS": "standby", "PGTZ": "Nowhere/Nowhere", "PGDATESTYLE": "nonsense", "PGGEQO": "nonsense",
    "PGCLIENTENCODING": "SQL_ASCII", "PGCONNECT_TIMEOUT": "nonsense", "PGDATA": "/nonexistent", "PGLOCALEDIR": "/nonexistent",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["PGHOSTADDR", *(pytest.param(n, marks=pytest.mark.slow) for n in HOSTILE if n != "PGHOSTADDR")]
)
async def test_a_variable_of_libpqs_does_not_reach_the_embedded_server(
    made: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((ELSEWHERE, 0)) as stranger:
        stranger.setblocking(False)
        monkeypatch.setenv("PGPORT", str(stranger.getsockname()[1]))
        monkeypatch.setenv(name, HOSTILE[name])
        options = StoreOptions(maintain=False, start_timeout_s=10.0)
        archive = await Archive.open(made / "store", space_id=SPACE, collection=name, options=options)
        try:
            await archive.upsert(make_entries(2))
            assert await archive.alive()
            assert await archive.count() == 2
        finally:
            await archive.close()
        with pytest.raises(BlockingIOError):
            stranger.accept()


async def test_a_store_is_made_dumped_and_restored_whatever_libpqs_environment_says(
    store_parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store_parent / "pg_service.conf").write_text(f"[clinic]\nhostaddr={ELSEWHERE}\nuser=somebody\noptions=-c jit=nonsense\n")
    for name, value in {**HOSTILE, "PGSERVICE": "clinic", "PGSERVICEFILE": str(store_parent / "pg_service.conf")}.items():
        monkeypatch.setenv(name, value)
    first = await Archive.open(store_parent / "first", space_id=SPACE, options=QUIET)
    await first.upsert(make_entries(3))
    await dump(first.database, store_parent / "a.dump")
    beside = await Archive.inspect(store_parent / "first")  # another `foveal store` command, through the running server
    assert await beside.count() == 3
    await beside.close()
    await first.close()
    monkeypatch.setenv("PGOPTIONS", HOSTILE["PGOPTIONS"])
    database = await Database.open(store_parent / "second", QUIET)
    await restore(database, store_parent / "a.dump")
    await database.close()
    second = await Archive.open(store_parent / "second", space_id=SPACE, options=QUIET)
    assert await second.count() == 3
    await second.close()


# --- Ends of waits ----------------------------------------------------------------------------------------------------


@pytest.fixture
def recovering(store_parent: Path) -> Path:
    """A store whose PostgreSQL recovers for ever: it waits for a log that a command of its own never brings."""
    folder = store_parent / "store"
    server = EmbeddedPostgres(folder)
    server.start()
    user = server.user
    server.stop()
    with (folder / "conf" / "postgresql.conf").open("a") as conf:
        conf.write("restore_command = 'sleep 600'\n")
    (folder / "pgdata" / "recovery.signal").touch()
    if user.switched:
        os.chown(folder / "pgdata" / "recovery.signal", user.uid, user.gid)
    return folder


def wait_until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_cancelled_open_ends_a_recovery_and_leaves_nothing_running(recovering: Path) -> None:
    opening = asyncio.create_task(Archive.open(recovering, space_id=SPACE, options=QUIET))
    await asyncio.to_thread(wait_until, lambda: (recovering / "pgdata" / "postmaster.pid").exists())
    await asyncio.sleep(0.3)
    assert not opening.done()
    opening.cancel()
    async with asyncio.timeout(SOON_S):
        with pytest.raises(asyncio.CancelledError):
            await opening
    wait_until(lambda: not workers_in(recovering / "pgdata"))


@pytest.mark.parametrize("kind", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_server_that_waits_for_its_store(recovering: Path, tmp_path: Path, kind: signal.Signals) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    words = [
        sys.executable,
        "-m",
        "foveal_runtime.cli.main",
        "serve",
        str(bundle),
        "--address",
        "127.0.0.1:0",
        "--workers",
        "1",
    ]
    serving = subprocess.Popen([*words, "--store", str(recovering)], stderr=subprocess.PIPE, text=True)
    assert serving.stderr is not None
    try:
        wait_until(lambda: (recovering / "pgdata" / "postmaster.pid").exists())
        serving.send_signal(kind)
        assert serving.wait(SOON_S) == 0
        assert "Traceback" not in serving.stderr.read()
    finally:
        serving.kill()
        serving.wait()
        serving.stderr.close()
    wait_until(lambda: not workers_in(recovering / "pgdata"))


def interrupted(server: EmbeddedPostgres, when: Callable[[], object]) -> StoreError:
    """What `start` raises when it is interrupted once it waits."""
    caught: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except BaseException as error:  # noqa: BLE001 - told to the test
            caught.append(error)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    wait_until(when)
    assert thread.is_alive()
    server.interrupt()
    thread.join(SOON_S)
    assert not thread.is_alive()
    (error,) = caught
    assert isinstance(error, StoreError)
    return error


def test_an_interrupt_ends_the_wait_for_a_predecessor_that_hangs(store_parent: Path) -> None:
    folder = store_parent / "store"
    orphan = orphaned(folder)
    os.kill(orphan, signal.SIGSTOP)
    try:
        second = EmbeddedPostgres(folder)
        assert "previous run" in str(
            interrupted(second, lambda: (folder / "lock").read_text() and second._lock._fd is not None)
        )
    finally:
        os.kill(orphan, signal.SIGCONT)
        os.kill(orphan, signal.SIGQUIT)
    wait_until(lambda: not workers_in(folder / "pgdata"))


def test_an_interrupt_ends_the_making_of_a_data_folder(store_parent: Path) -> None:
    slow = store_parent / "bin"
    slow.mkdir(mode=0o755)
    (slow / "initdb").write_text("#!/bin/sh\nsleep 600\n")
    (slow / "initdb").chmod(0o755)
    server = EmbeddedPostgres(store_parent / "store")
    server._binaries = Binaries(slow)
    assert "data folder" in str(interrupted(server, lambda: (store_parent / "store" / "pgdata.new").exists()))


class Refusing(EmbeddedPostgres):
    """A PostgreSQL that lets nobody in: no wait will change that."""

    def _configure(self, user: RunAs) -> None:
        super()._configure(user)
        write_config(self.folder.conf / "pg_hba.conf", "local all all reject\n")


def test_what_no_wait_will_change_is_raised_at_once(made: Path) -> None:
    server = Refusing(made / "store", start_timeout_s=SOON_S)
    with pytest.raises(StoreError, match=r"runs and can't be used: .*pg_hba\.conf rejects"):
        server.start()
    assert not workers_in(made / "store" / "pgdata")


# --- Folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"a,b",
        b"with space",
        b"it's",
        b'said "so"',
        b"100%d",
        b"back\\slash",
        "Augenärztin".encode(),
        b"\xff\xfe",
        b"$HOME",
        b"#1",
    ],
)
def test_a_store_works_in_a_folder_of_any_name(made: Path, name: bytes) -> None:
    import psycopg

    folder = made / os.fsdecode(name)
    (made / "store").rename(folder)
    try:
        server = EmbeddedPostgres(folder)
        server.start()
        try:
            with psycopg.connect(server.conninfo(ROOT_ROLE), autocommit=True) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            server.stop()
        assert list((folder / "log").glob("postgres-*.log"))
    finally:
        folder.rename(made / "store")


def test_a_store_is_made_in_a_folder_with_a_comma(store_parent: Path) -> None:
    server = EmbeddedPostgres(store_parent / 'Doe, Jane\'s 100% "store"')
    server.start()
    server.stop()


def test_a_line_break_in_a_name_is_refused(store_parent: Path) -> None:
    with pytest.raises(ConfigError, match="control character"):
        EmbeddedPostgres(store_parent / "two\nlines").start()
    assert not list(store_parent.iterdir())


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@AS_ROOT
@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_root_makes_a_store_under_a_strict_umask(store_parent: Path, mask: int) -> None:
    folder = store_parent / "data" / "foveal" / "store"
    with umask(mask):
        server = EmbeddedPostgres(folder)
        server.start()
        server.stop()
    assert folder.stat().st_mode & 0o777 == 0o711
    assert (folder / "pgdata").stat().st_mode & 0o077 == 0
