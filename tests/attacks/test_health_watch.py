"""A watcher of the health service that never opens its flow-control window: states go on changing, and the server ends."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import RunningServer

_DATA, _HEADERS, _SETTINGS = 0x0, 0x1, 0x4
_END_STREAM, _END_HEADERS = 0x1, 0x4
_INITIAL_WINDOW_SIZE = 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header that is neither indexed nor compressed (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def watcher(address: str, service: str = "") -> socket.socket:
    """A connection that watches a service and accepts no byte of an answer."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    headers = {
        ":method": "POST", ":scheme": "http", ":path": "/grpc.health.v1.Health/Watch", ":authority": address,
        "te": "trailers", "content-type": "application/grpc",
    }  # fmt: skip
    asked = (b"\x0a" + bytes([len(service)]) + service.encode()) if service else b""
    connection.sendall(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, 0))
        + frame(_HEADERS, _END_HEADERS, 1, b"".join(literal(*pair) for pair in headers.items()))
        + frame(_DATA, _END_STREAM, 1, b"\x00" + struct.pack(">I", len(asked)) + asked)
    )
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
