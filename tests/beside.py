"""A well-behaved caller beside an attack, what it waited for in calm and under attack, and memory of a server's process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from foveal_runtime.client import Client, ClientOptions
from foveal_runtime.errors import FovealError
from foveal_runtime.study.study import Study

ATTACKER = "127.0.0.2"
"""Where an attacker's connections come from: another machine than everybody else's, as the server sees it."""


@dataclass
class Waits:
    """What one caller saw."""

    seconds: list[float] = field(default_factory=list)
    errors: list[FovealError] = field(default_factory=list)

    @property
    def p99_s(self) -> float:
        """Of the answers."""
        return float(np.quantile(self.seconds, 0.99))


class WellBehaved:
    """Grades a photograph at a time, of its own each, 20 a second at most, for as long as a block runs."""

    def __init__(self, address: str, image: bytes, *, timeout_s: float = 10.0) -> None:
        self._client = Client(address, ClientOptions(timeout_s=timeout_s, retry_s=0))
        self._image = image
        self._count = 0
        self._over = threading.Event()
        self.waits = Waits()

    def ask(self) -> None:
        """One call. An answer that is none is an error of the test."""
        self._count += 1
        # What follows the end of a JPEG changes no pixel, and no answer that was kept is given again.
        study = Study(id=str(self._count), image=self._image + str(self._count).encode())
        began = time.monotonic()
        try:
            (result,) = self._client.grade([study]).results
        except FovealError as error:
            self.waits.errors.append(error)
            return
        assert result.HasField("grade"), result.error.message
        self.waits.seconds.append(time.monotonic() - began)

    def calm(self, calls: int = 60) -> Waits:
        """What it waits for while nobody else calls."""
        for _ in range(calls):
            self.ask()
            time.sleep(0.02)
        waits, self.waits = self.waits, Waits()
        return waits

    def _go_on(self) -> None:
        while not self._over.is_set():
            self.ask()
            self._over.wait(0.05)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()


class Peak:
    """The most memory that a process had while a block ran, above what it had before."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self.before = resident_bytes(pid)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            with contextlib.suppress(OSError):
                self.bytes = max(self.bytes, resident_bytes(self._pid) - self.before)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


def resident_bytes(pid: int) -> int:
    """Private and shared pages that a process has in memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def from_elsewhere(address: str, source: str = ATTACKER) -> Iterator[str]:
    """An address that leads to the server, which sees its callers come from another machine."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = [listener]

    def copy(reader: socket.socket, writer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := reader.recv(1 << 20):
                writer.sendall(data)
        for end in (reader, writer):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((host, int(port)), source_address=(source, 0))
                open_sockets.extend((near, far))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for something."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
