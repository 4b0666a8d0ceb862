"""A watcher of the health service that never opens its flow-control window: states go on changing, and the server ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http2 import DATA, END_STREAM, INITIAL_WINDOW_SIZE, frame, message, open_call
from servers import RunningServer


def watcher(address: str, service: str = "") -> socket.socket:
    """A connection that watches a service and accepts no byte of an answer."""
    connection = open_call(address, "/grpc.health.v1.Health/Watch", (INITIAL_WINDOW_SIZE, 0))
    asked = (b"\x0a" + bytes([len(service)]) + service.encode()) if service else b""
    connection.sendall(frame(DATA, END_STREAM, 1, message(asked)))
    return connection


@pytest.fixture
def server(bundle_path: Path) -> Iterator[RunningServer]:
    with RunningServer(bundle_path) as running:
        yield running


def test_a_state_changes_for_everybody_while_watchers_take_nothing(server: RunningServer) -> None:
    stuck = [watcher(server.address, name) for name in ("", "foveal.v1.Screening") * 10]
    time.sleep(0.5)  # their calls have arrived, and their first state waits to be taken
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    seen = set()
    end = time.monotonic() + 20
    while seen != {"NOT_SERVING", "SERVING"}:
        seen.add(server.health())
        if seen == {"SERVING"}:
            seen = set() if "worker lost" not in server.log else seen
        assert time.monotonic() < end, server.log
    for connection in stuck:
        connection.close()


def test_the_server_ends_while_watchers_take_nothing(bundle_path: Path) -> None:
    with RunningServer(bundle_path, "--drain", "20") as server:
        stuck = [watcher(server.address) for _ in range(10)]
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(15)  # the drain would let them stay longer
        for connection in stuck:
            connection.close()
