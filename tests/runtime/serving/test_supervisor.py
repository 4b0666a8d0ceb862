"""The watchdog of a worker: a batch pays for its own time, not for what the worker does before it."""

from __future__ import annotations

import asyncio
import pickle
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from foveal_runtime.serving.supervisor import Worker, WorkerLost
from foveal_runtime.serving.worker import Started


class FakeProcess:
    """A process that is only ended."""

    pid = 1

    def __init__(self) -> None:
        self.ended = threading.Event()

    def poll(self) -> int | None:
        return -9 if self.ended.is_set() else None

    def kill(self) -> None:
        self.ended.set()

    def wait(self) -> int:
        return -9


class Child:
    """The worker's end of the socket, by hand."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(theirs.detach())
        self.process = FakeProcess()
        self.worker = Worker(self.process, Connection(ours.detach()))  # type: ignore[arg-type]

    async def asked(self) -> int:
        """Number of the next question."""
        number, _ = pickle.loads(await asyncio.to_thread(self._connection.recv_bytes))
        return int(number)

    def says(self, number: int, answer: Any) -> None:
        self._connection.send_bytes(pickle.dumps((number, answer)))


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made._connection.close()


async def test_a_batch_that_was_sent_ahead_does_not_pay_for_the_one_before_it(child: Child) -> None:
    begun: list[str] = []
    first = asyncio.create_task(child.worker.run([], [], timeout_s=0.6, on_start=lambda: begun.append("first")))
    one = await child.asked()
    second = asyncio.create_task(child.worker.run([], [], timeout_s=0.6, on_start=lambda: begun.append("second")))
    two = await child.asked()
    child.says(one, Started())
    await asyncio.sleep(0.4)
    child.says(one, [])
    child.says(two, Started())
    await asyncio.sleep(0.4)
    child.says(two, [])
    assert await first == []
    assert await second == []  # 0.8 s after it was handed over, 0.4 s after it began
    assert begun == ["first", "second"]


async def test_a_batch_that_hangs_is_noticed_after_its_own_time(child: Child) -> None:
    running = asyncio.create_task(child.worker.run([], [], timeout_s=0.2))
    child.says(await child.asked(), Started())
    with pytest.raises(WorkerLost) as lost:
        await running
    assert lost.value.hung
    assert child.process.ended.is_set()


async def test_a_worker_that_begins_nothing_at_all_is_noticed_too(child: Child) -> None:
    with pytest.raises(WorkerLost) as lost:
        await child.worker.run([], [], timeout_s=0.2)
    assert lost.value.hung
