"""Kill -9 of foveal, of PostgreSQL and of both, and stale pid files: on the real thing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foveal_runtime.store import Archive, StoreOptions
from foveal_runtime.store.leftovers import workers_in
from foveal_runtime.store.postgres import ROOT_ROLE, EmbeddedPostgres

from .conftest import SPACE, orphaned
from .foveal_like import BATCH, items_of

SCRIPT = Path(__file__).with_name("foveal_like.py")
QUIET = StoreOptions(maintain=False)


class Writer:
    """A running foveal_like.py."""

    def __init__(self, folder: Path, first: int = 0, *flags: str) -> None:
        command = [sys.executable, str(SCRIPT), str(folder), str(first), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        assert line[0] == "ready"
        self.postgres = int(line[1])
        self.acknowledged = -1
        self.told: set[int] = set()
        """All that were acknowledged, in whatever order."""

    def write_for(self, writes: int) -> None:
        """Read acknowledgements of so many writes."""
        assert self.process.stdout is not None
        for _ in range(writes):
            self.acknowledged = int(self.process.stdout.readline())
            self.told.add(self.acknowledged)

    def finish(self) -> None:
        """Read what was acknowledged before it died."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):
                self.acknowledged = int(line)
                self.told.add(self.acknowledged)
        self.process.wait()
        self.process.stdout.close()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture
def writer_of() -> Iterator[list[Writer]]:
    """Writers to be ended whatever happens."""
    made: list[Writer] = []
    yield made
    for writer in made:
        if writer.process.poll() is None:
            writer.process.kill()
            writer.finish()


async def check_nothing_lost(folder: Path, acknowledged: int) -> float:
    """Open the store, find every acknowledged write whole, and at most one more. Returns the seconds it took to be back."""
    began = time.monotonic()
    archive = await Archive.open(folder, space_id=SPACE, options=QUIET)
    back_s = time.monotonic() - began
    try:
        for number in range(acknowledged + 2):
            stored = await archive.get([item.id for item in items_of(number)])
            if number <= acknowledged:
                assert stored == items_of(number)
            else:
                assert len(stored) in (0, BATCH), "a write was torn"
        assert await archive.count() in (BATCH * (acknowledged + 1), BATCH * (acknowledged + 2))
    finally:
        await archive.close()
    return back_s


def wait_until_gone(pgdata: Path, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while workers_in(pgdata):
        assert time.monotonic() < deadline, "PostgreSQL outlived foveal"
        time.sleep(0.02)


async def test_kill_9_of_foveal_loses_nothing_and_takes_postgres_along(store_parent: Path, writer_of: list[Writer]) -> None:
    folder = store_parent / "store"
    writer = Writer(folder)
    writer_of.append(writer)
    writer.write_for(10)
    writer.process.kill()
    writer.finish()
    wait_until_gone(folder / "pgdata", 10.0)
    await check_nothing_lost(folder, writer.acknowledged)


async def test_kill_9_of_both_loses_nothing(store_parent: Path, writer_of: list[Writer]) -> None:
    folder = store_parent / "store"
    writer = Writer(folder)
    writer_of.append(writer)
    writer.write_for(10)
    os.kill(writer.postgres, signal.SIGKILL)
    writer.process.kill()
    writer.finish()
    assert await check_nothing_lost(folder, writer.acknowledged) < 10.0


async def test_foveal_rides_out_kill_9_of_postgres(store_parent: Path, writer_of: list[Writer]) -> None:
    folder = store_parent / "store"
    writer = Writer(folder)
    writer_of.append(writer)
    writer.write_for(5)
    os.kill(writer.postgres, signal.SIGKILL)
    began = time.monotonic()
    writer.write_for(5)  # a write under way may still be acknowledged; five more need the new server
    assert time.monotonic() - began < 10.0
    writer.process.kill()
    writer.finish()
    await check_nothing_lost(folder, writer.acknowledged)


async def test_entries_that_are_stored_in_groups_are_there_once_each_is_acknowledged(
    store_parent: Path, writer_of: list[Writer]
) -> None:
    folder = store_parent / "store"
    writer = Writer(folder, 0, "streams")
    writer_of.append(writer)
    writer.write_for(50)
    os.kill(writer.postgres, signal.SIGKILL)
    writer.write_for(50)
    writer.process.kill()
    writer.finish()
    wanted = [items_of(number)[0] for number in sorted(writer.told)]
    archive = await Archive.open(folder, space_id=SPACE, options=QUIET)
    try:
        assert len(wanted) >= 100
        assert await archive.get([item.id for item in wanted]) == wanted
    finally:
        await archive.close()


@pytest.mark.slow
async def test_fifty_kills_at_random_moments_lose_nothing(store_parent: Path, writer_of: list[Writer]) -> None:
    folder = store_parent / "store"
    rng = random.Random(6)
    acknowledged = -1
    for turn in range(50):
        writer = Writer(folder, acknowledged + 1)
        writer_of.append(writer)
        writer.acknowledged = acknowledged
        time.sleep(rng.uniform(0.0, 0.3))
        victim = turn % 3
        if victim in (1, 2):
            os.kill(writer.postgres, signal.SIGKILL)
        if victim == 1:
            writer.write_for(3)
        writer.process.kill()
        writer.finish()
        acknowledged = writer.acknowledged
        assert await check_nothing_lost(folder, acknowledged) < 10.0
        # A write that was stored but not acknowledged is written again with the same content.


def test_an_orphaned_postgres_is_stopped_before_its_folder_is_used(store_parent: Path) -> None:
    folder = store_parent / "store"
    orphan = orphaned(folder)
    second = EmbeddedPostgres(folder)
    second.start()
    try:
        assert second.pid not in (None, orphan)
        assert orphan not in workers_in(folder / "pgdata")
    finally:
        second.stop()


def test_a_stale_pid_file_whose_id_was_reused_is_seen_through(store_parent: Path) -> None:
    folder = store_parent / "store"
    server = EmbeddedPostgres(folder)
    server.start()
    assert server.pid is not None
    user = server.user
    saved = (folder / "pgdata" / "postmaster.pid").read_text().splitlines()
    saved_lock = (folder / "run" / ".s.PGSQL.5432.lock").read_text().splitlines()
    server.stop()
    # A process of the same user, as PostgreSQL would take for a running postmaster.
    other = subprocess.Popen(["sleep", "60"], user=user.uid if user.switched else None)
    try:
        for path, lines in ((folder / "pgdata" / "postmaster.pid", saved), (folder / "run" / ".s.PGSQL.5432.lock", saved_lock)):
            path.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            if user.switched:
                os.chown(path, user.uid, user.gid)
        again = EmbeddedPostgres(folder)
        again.start()
        again.stop()
        assert other.poll() is None, "a stranger's process was ended"
    finally:
        other.kill()
        other.wait()


def test_a_postgres_that_is_killed_again_and_again_is_back_at_once_and_one_that_dies_at_birth_ever_later(
    store_parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    database = EmbeddedPostgres(store_parent / "store")
    stopping = database._stopping
    waits = stopping.wait

    def wait(pause_s: float) -> bool:
        if pause_s >= 0.1:  # between starts; shorter ones are looks at a file
            pauses.append(pause_s)
        return waits(pause_s)

    monkeypatch.setattr(stopping, "wait", wait)
    database.start()
    try:
        for kill in range(4):
            assert database.pid is not None
            os.kill(database.pid, signal.SIGKILL)
            until(lambda kill=kill: len(pauses) > kill)  # type: ignore[misc]
            until(lambda: answers(database))
        assert pauses == [0.1] * 4
        monkeypatch.setattr(database, "_command", lambda: ["/bin/false"])
        assert database.pid is not None
        os.kill(database.pid, signal.SIGKILL)
        until(lambda: len(pauses) >= 7)
        assert pauses[4:7] == [0.1, pytest.approx(0.3), pytest.approx(0.7)]
    finally:
        database.stop()


async def test_a_connection_of_the_pool_waits_for_a_server_that_recovers(
    store_parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    from foveal_runtime.store import reconnect

    database = EmbeddedPostgres(store_parent / "store")
    database.start()
    try:
        conninfo = database.conninfo(ROOT_ROLE, "postgres")
        assert database.pid is not None
        os.kill(database.pid, signal.SIGKILL)
        until(lambda: database.pid is None)
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(conninfo)
        monkeypatch.setattr(reconnect, "_FOR_S", 60.0)
        async with await reconnect.PatientConnection.connect(conninfo, autocommit=True) as connection:
            cursor = await connection.execute("SELECT 1")
            assert await cursor.fetchone() == (1,)
    finally:
        database.stop()
    monkeypatch.setattr(reconnect, "_FOR_S", 0.3)
    with pytest.raises(psycopg.OperationalError):
        await reconnect.PatientConnection.connect(conninfo)


def answers(database: EmbeddedPostgres) -> bool:
    import psycopg

    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(database.conninfo(ROOT_ROLE, "postgres")):
        return True
    return False


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
