"""Callers that vanish, read slowly or say nothing, and bundles that change under a running server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from bundles import photograph, write_bundle
from servers import RunningServer

from foveal_runtime._proto import screening_pb2, study_pb2
from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.client.channel import open_channel
from foveal_runtime.errors import DeadlineError
from foveal_runtime.study.study import Study


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def server(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    config = "stream_window = 8\ncache_entries = 0\n[batch]\nmax_studies = 4"
    with RunningServer(bundle_path, config=config, folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with server.client() as opened:
        yield opened


VANISHING = """
import sys, time
sys.path.insert(0, sys.argv[2])
from foveal_runtime.client import Client
from foveal_runtime.study.study import Study
client = Client(sys.argv[1])
image = open(sys.argv[3], "rb").read()
call = client._screening.Grade.future(client._messages.grade([Study(image=image, note="macula " * i) for i in range(150)]))
print("sent", flush=True)
time.sleep(60)
"""


def test_work_of_a_vanished_client_is_dropped(server: RunningServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(photograph(width=1200, height=900))
    command = [sys.executable, "-c", VANISHING, server.address, "", str(tmp_path / "large.jpg")]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "sent\n"
    # Its 150 photographs take seconds: they have arrived when a short call gets no answer.
    end = time.monotonic() + 20
    with server.client(timeout_s=0.3) as hasty, contextlib.suppress(DeadlineError):
        while time.monotonic() < end:
            hasty.grade([Study(note=f"macula {time.monotonic()}")])
    caller.kill()
    caller.wait()
    started = time.monotonic()
    assert client.grade([Study(note="macula edema")]).results[0].HasField("grade")
    assert time.monotonic() - started < 2
    server.wait_for("Grade cancelled", 5)


def test_a_slow_reader_neither_stops_the_others_nor_grows_the_server(server: RunningServer, client: Client) -> None:
    image = photograph(width=1200, height=900)
    sent = []

    def requests():
        for i in range(2000):
            sent.append(i)
            yield screening_pb2.GradeStreamRequest(
                study=study_pb2.Study(id=str(i), image=study_pb2.Image(encoded=image), note="m " * (i % 50))
            )

    before = rss_bytes(server.process.pid)
    call = client._screening.GradeStream(requests())
    next(call)  # and then reads no more
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert client.grade([Study(note=f"macula {time.monotonic()}")]).results[0].HasField("grade")
        time.sleep(0.05)
    assert rss_bytes(server.process.pid) - before < 150 << 20
    call.cancel()
    assert client.grade([Study(note="macula")]).results[0].HasField("grade")


def test_connections_that_say_nothing_or_half_of_it_harm_nobody(server: RunningServer, client: Client) -> None:
    host, _, port = server.address.rpartition(":")
    openings = [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02",
        os.urandom(4096),
    ] * 20
    sockets = []
    for opening in openings:
        connection = socket.create_connection((host, int(port)), timeout=5)
        connection.sendall(opening)
        sockets.append(connection)
    assert client.grade([Study(note="macula")]).results[0].HasField("grade")
    for connection in sockets:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
        connection.close()
    assert client.grade([Study(note="macula edema")]).results[0].HasField("grade")


def test_a_request_over_the_message_limit_is_refused(server: RunningServer, client: Client) -> None:
    limits = ClientOptions(max_message_bytes=128 << 20)
    with open_channel(server.address, limits) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/foveal.v1.Screening/Grade")(b"\0" * (65 << 20), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.grade([Study(note="macula")]).results[0].HasField("grade")


def test_a_corrupt_new_bundle_leaves_the_old_one_serving_and_a_good_one_swaps_without_a_dropped_call(tmp_path: Path) -> None:
    old = write_bundle(tmp_path / "old", seed=1)
    new = write_bundle(tmp_path / "new", seed=2)
    corrupt = tmp_path / "corrupt"
    shutil.copytree(new, corrupt)
    (corrupt / "image.onnx").write_bytes(b"junk")
    drifted = write_bundle(tmp_path / "drifted", seed=3, golden_shift=2.0)
    link = tmp_path / "current"
    link.symlink_to(old)

    def point_to(target: Path) -> None:
        (tmp_path / "next").symlink_to(target)
        (tmp_path / "next").rename(link)

    errors: list[Exception] = []
    spaces: list[str] = []
    stop = threading.Event()

    def load() -> None:
        with server.client() as client:
            turn = 0
            while not stop.is_set():
                turn += 1
                try:
                    response = client.grade([Study(note="macula " * (turn % 9 + 1))])
                    assert response.results[0].HasField("grade")
                    spaces.append(response.model.space_id)
                except Exception as error:  # noqa: BLE001 - any failure at all fails the test
                    errors.append(error)

    with RunningServer(link) as server, server.client() as client:
        first = client.model().model
        caller = threading.Thread(target=load)
        caller.start()
        try:
            for bad, words in ((corrupt, "was changed"), (drifted, "self-test")):
                point_to(bad)
                server.process.send_signal(signal.SIGHUP)
                server.wait_for("the old one is kept", 20)
                server.wait_for(words, 20)
                assert client.model().model == first
            point_to(new)
            end = time.monotonic() + 20
            while client.model().model == first:  # noticed without a signal
                assert time.monotonic() < end
                time.sleep(0.05)
            seen = len(spaces)
            while len(spaces) < seen + 5:
                assert time.monotonic() < end
                time.sleep(0.02)
        finally:
            stop.set()
            caller.join(10)
        assert not errors, errors[:3]
        assert spaces[0] == first.space_id
        assert spaces[-1] == client.model().model.space_id != first.space_id
        assert server.health() == "SERVING"
