"""The watchdog of a worker: a batch pays for its own time, not for what the worker does before it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from foveal_runtime.serving.jobs import Started, Waiting
from foveal_runtime.serving.supervisor import Worker, WorkerLost
from foveal_runtime.serving.wire import Wire


class FakeProcess:
    """A process that is only ended."""

    pid = 1
    returncode = -9

    def __init__(self) -> None:
        self.ended = threading.Event()

    def poll(self) -> int | None:
        return -9 if self.ended.is_set() else None

    def kill(self) -> None:
        self.ended.set()

    def wait(self, timeout: float | None = None) -> int:
        return self.returncode


class Child:
    """The worker's end of the socket, by hand."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.socket = theirs
        self._wire = Wire(theirs, max_bytes=1 << 20)
        self.process = FakeProcess()
        self.worker = Worker(self.process, ours)  # type: ignore[arg-type]

    async def asked(self) -> int:
        """Number of the next question."""
        number, _ = await asyncio.to_thread(self._wire.receive)
        return int(number)

    def close(self) -> None:
        """As the end of the process does."""
        self._wire.close()

    def says(self, number: int, answer: Any) -> None:
        self._wire.send((number, answer))


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.close()


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


async def test_a_batch_that_waits_for_another_is_not_blamed_for_it(child: Child) -> None:
    waiting = asyncio.create_task(child.worker.run([], [], timeout_s=1.0))
    one = await child.asked()
    hanging = asyncio.create_task(child.worker.run([], [], timeout_s=1.5))
    two = await child.asked()
    child.says(one, Started())
    child.says(one, Waiting())
    child.says(two, Started())
    with pytest.raises(WorkerLost) as lost:
        await hanging
    assert lost.value.hung
    child.close()
    with pytest.raises(WorkerLost) as other:
        await waiting
    assert not other.value.hung


async def test_batches_in_one_graph_call_hang_together(child: Child) -> None:
    first = asyncio.create_task(child.worker.run([], [], timeout_s=0.3))
    one = await child.asked()
    second = asyncio.create_task(child.worker.run([], [], timeout_s=30))
    two = await child.asked()
    child.says(two, Started())
    child.says(one, Started(also=(two,)))
    with pytest.raises(WorkerLost) as lost:
        await first
    child.close()
    with pytest.raises(WorkerLost) as other:
        await second
    assert lost.value.hung
    assert other.value.hung


async def test_a_batch_has_as_long_again_once_another_part_of_it_begins(child: Child) -> None:
    begun: list[str] = []
    running = asyncio.create_task(child.worker.run([], [], timeout_s=0.6, on_start=lambda: begun.append("begun")))
    number = await child.asked()
    child.says(number, Started())
    await asyncio.sleep(0.4)
    child.says(number, Started())
    await asyncio.sleep(0.4)
    child.says(number, [])
    assert await running == []
    assert begun == ["begun"]


@pytest.mark.parametrize(
    "frame",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack("=IIQ", 0xF0EA1, 0, 1 << 60),
        struct.pack("=IIQ", 0xF0EA1, 1 << 31, 4),
        struct.pack("=IIQ", 0xF0EA1, 0, 4) + b"nope",
        struct.pack("=IIQ", 0xF0EA1, 0, 2) + b"N.",  # None, and no pair
    ],
)
async def test_a_worker_that_answers_nonsense_is_lost_at_once(child: Child, frame: bytes) -> None:
    running = asyncio.create_task(child.worker.run([], [], timeout_s=30))
    await child.asked()
    child.socket.sendall(frame)
    with pytest.raises(WorkerLost) as lost:
        async with asyncio.timeout(10):
            await running
    assert not lost.value.hung
    assert child.process.ended.is_set()


async def test_a_worker_that_dies_in_the_middle_of_an_answer_is_lost(child: Child) -> None:
    running = asyncio.create_task(child.worker.run([], [], timeout_s=30))
    await child.asked()
    child.socket.sendall(struct.pack("=IIQ", 0xF0EA1, 0, 1000) + b"half")
    child.close()
    with pytest.raises(WorkerLost):
        async with asyncio.timeout(10):
            await running


@pytest.mark.parametrize(("code", "killed"), [(-9, True), (-15, True), (-11, False), (-6, False), (1, False)])
async def test_a_worker_that_somebody_killed_is_told_from_one_that_crashed(child: Child, code: int, killed: bool) -> None:
    child.process.returncode = code
    running = asyncio.create_task(child.worker.run([], [], timeout_s=5))
    await child.asked()
    child.close()
    with pytest.raises(WorkerLost) as lost:
        await running
    assert lost.value.killed is killed
    assert not lost.value.hung
