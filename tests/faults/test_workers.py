"""Workers that die, hang or meet a study that breaks them, in a real server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import photograph
from google.rpc import code_pb2
from servers import RunningServer

from foveal_runtime.client import Client
from foveal_runtime.errors import FovealError, PoisonError, UnavailableError
from foveal_runtime.rpc.status import error_of
from foveal_runtime.study.study import Study

BACK_WITHIN_S = 5.0
HANGING = "[batch]\nworker_timeout_s = 1.5"


@pytest.fixture(scope="module")
def server(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One worker, which hangs when it is silent for 1.5 s; every test leaves it serving."""
    with RunningServer(bundle_path, config=HANGING, folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        wait_until_answered(opened, time.monotonic())
        yield opened


def wait_until_answered(client: Client, since: float) -> None:
    """The service is back when an ordinary study is graded again."""
    while True:
        try:
            result = client.grade([Study(note=f"macula {time.monotonic()}")]).results[0]
            if result.HasField("grade"):
                break
        except FovealError:
            pass
        assert time.monotonic() - since < BACK_WITHIN_S, "the service did not come back"
        time.sleep(0.02)
    assert time.monotonic() - since < BACK_WITHIN_S


def gone(pid: int) -> bool:
    """No such process, or only its entry is left for its parent to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_gone(pids: list[int], timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < end, f"{[pid for pid in pids if not gone(pid)]} still run"
        time.sleep(0.02)


def test_kill_9_of_a_worker_under_load_leaves_no_request_unanswered(bundle_path: Path) -> None:
    image = photograph(width=1200, height=900)
    answered: list[str] = []
    stop = threading.Event()

    def load(number: int) -> None:
        with server.client() as client:
            for turn in range(1000):
                if stop.is_set():
                    return
                try:
                    studies = [Study(image=image, note=f"macula {number} {turn} {i}") for i in range(4)]
                    answered.extend(r.WhichOneof("outcome") or "" for r in client.grade(studies).results)
                except UnavailableError:
                    answered.append("unavailable")

    with RunningServer(bundle_path, "--workers", "2") as server, server.client() as client:
        callers = [threading.Thread(target=load, args=(i,)) for i in range(3)]
        for caller in callers:
            caller.start()
        for _ in range(3):
            while len(server.workers()) < 2:
                time.sleep(0.02)
            killed = time.monotonic()
            os.kill(server.workers()[0], signal.SIGKILL)
            wait_until_answered(client, killed)
        stop.set()
        for caller in callers:
            caller.join(20)
            assert not caller.is_alive(), "a caller was left waiting"
        assert answered.count("grade") > 10
        assert set(answered) <= {"grade", "error", "unavailable"}
        assert server.process.poll() is None


def test_a_study_that_breaks_the_graphs_fails_alone(server: RunningServer, client: Client) -> None:
    studies = [Study(id=str(i), note="edema") for i in range(12)]
    studies.insert(5, Study(id="bad", note="breaks"))
    results = client.grade(studies).results
    assert [r.id for r in results if r.HasField("error")] == ["bad"]
    assert isinstance(error_of(results[5].error), PoisonError)
    assert len(server.workers()) == 1


def test_a_hanging_graph_is_ended_and_the_study_that_hung_twice_is_refused(server: RunningServer, client: Client) -> None:
    (worker,) = server.workers()
    poison = Study(note="hangs")
    started = time.monotonic()
    (first,) = client.grade([poison]).results
    assert isinstance(error_of(first.error), UnavailableError)
    assert time.monotonic() - started < 1.5 + BACK_WITHIN_S
    wait_until_answered(client, time.monotonic())
    assert server.workers() != [worker]
    (second,) = client.grade([poison]).results
    assert isinstance(error_of(second.error), PoisonError)
    wait_until_answered(client, time.monotonic())
    (worker,) = server.workers()
    (third,) = client.grade([poison]).results
    assert isinstance(error_of(third.error), PoisonError)
    assert server.workers() == [worker], "it was run again"


def test_neighbours_of_a_hanging_study_are_told_at_once_and_succeed_when_sent_again(
    server: RunningServer, client: Client
) -> None:
    good = [Study(id=str(i), note="macula " * (i + 1)) for i in range(4)]
    results = client.grade([*good, Study(id="bad", note="hangs too hangs")]).results
    codes = {r.id: code_pb2.Code.Name(r.error.code) for r in results}
    assert codes.pop("bad") == "UNAVAILABLE"
    # Those of its own batch; what ran in another lane meanwhile is answered.
    assert set(codes.values()) <= {"UNAVAILABLE", "OK"}
    wait_until_answered(client, time.monotonic())
    assert all(r.HasField("grade") for r in client.grade(good).results)


def test_a_stopped_worker_is_replaced(server: RunningServer, client: Client) -> None:
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    (result,) = client.grade([Study(note="macula")]).results
    assert code_pb2.Code.Name(result.error.code) == "UNAVAILABLE"
    wait_until_answered(client, time.monotonic())
    wait_gone([worker])


def test_health_is_not_serving_while_no_worker_is_up(server: RunningServer, client: Client) -> None:
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    # An idle worker's death is noticed without a request.
    end = time.monotonic() + BACK_WITHIN_S
    while not (server.workers() and server.workers() != [worker] and server.health() == "SERVING"):
        assert time.monotonic() < end, server.log
        time.sleep(0.02)
    assert "worker lost" in server.log


@pytest.mark.parametrize("note", [pytest.param("macula", marks=pytest.mark.slow), "hangs"])
def test_kill_9_of_the_server_leaves_no_worker_behind(bundle_path: Path, note: str) -> None:
    with RunningServer(bundle_path, "--workers", "2") as server, server.client(timeout_s=20) as client:
        workers = server.workers()
        assert len(workers) == 2
        call = client._screening.Grade.future(client._messages.grade([Study(note=note)]), timeout=20)
        if note != "hangs":
            call.result()
        else:
            busy = time.monotonic() + 10
            while not any(cpu_s(worker) > 1.0 for worker in workers):
                assert time.monotonic() < busy
                time.sleep(0.05)
        server.process.kill()
        server.process.wait()
        wait_gone(workers)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
