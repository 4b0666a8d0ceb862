"""The page where a worker notes what it decodes: its parent sees who takes too long on its own clock, and how much memory."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from foveal_runtime.serving import decodeclock
from foveal_runtime.serving.decodeclock import DecodeClock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads of other processes are watched on Linux alone")


@pytest.fixture
def clock() -> Iterator[DecodeClock]:
    made = DecodeClock()
    yield made
    made.close()


def compute(cpu_s: float) -> None:
    """Take this much of this thread's CPU time."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass


def test_a_photograph_that_takes_its_time_is_seen_at_its_place(clock: DecodeClock) -> None:
    with clock.running(7, 3, size_bytes=1000, decoded_bytes=1 << 20):
        assert clock.overrun(os.getpid(), 7, 10.0) is None
        compute(0.05)
        assert clock.overrun(os.getpid(), 7, 0.02) == 3
        assert clock.overrun(os.getpid(), 8, 0.02) is None, "it is another job's"
    assert clock.overrun(os.getpid(), 7, 0.02) is None, "it is over"


def test_time_in_which_a_thread_waits_is_not_counted(clock: DecodeClock) -> None:
    with clock.running(0, 0, 1000, 0):
        time.sleep(0.1)
        assert clock.overrun(os.getpid(), 0, 0.05) is None


def test_what_the_thread_took_before_is_not_the_photographs(clock: DecodeClock) -> None:
    compute(0.1)
    with clock.running(0, 0, 1000, 0):
        assert clock.overrun(os.getpid(), 0, 0.05) is None


def test_a_large_file_may_take_twice_as_long(clock: DecodeClock) -> None:
    with clock.running(1, 0, 64 << 20, 0):
        compute(0.06)
        assert clock.overrun(os.getpid(), 1, 0.04) is None
        compute(0.06)
        assert clock.overrun(os.getpid(), 1, 0.04) == 0


def test_a_photograph_that_fails_is_over_as_well(clock: DecodeClock) -> None:
    with pytest.raises(ValueError, match="broken"), clock.running(1, 0, 1000, 500):
        raise ValueError("broken")
    assert clock.overrun(os.getpid(), 1, 0.0) is None
    assert clock.decoding_bytes() == 0


def test_a_worker_that_is_gone_or_a_clock_that_stands_still_blames_nobody(
    clock: DecodeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clock.running(1, 0, 1000, 0):
        compute(0.05)
        assert clock.overrun(2**22 + 1, 1, 0.01) is None, "there is no such process"
        began = time.thread_time_ns()
        monkeypatch.setattr(decodeclock, "_cpu_ns", lambda pid, thread: began - 10**9)
        assert clock.overrun(os.getpid(), 1, 0.01) is None, "it went back"


def test_a_thread_that_has_gone_on_to_the_next_photograph_is_not_meant(
    clock: DecodeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = clock.running(1, 5, 1000, 0)

    def goes_on(pid: int, thread: int) -> int:
        other.__enter__()  # while the kernel is asked
        return 1 << 62

    monkeypatch.setattr(decodeclock, "_cpu_ns", goes_on)
    with clock.running(1, 4, 1000, 0):
        assert clock.overrun(os.getpid(), 1, 0.01) is None


def test_the_parent_sees_the_pages_of_all_threads_and_how_much_memory_they_take(clock: DecodeClock) -> None:
    assert clock.descriptor is not None
    worker = DecodeClock(os.dup(clock.descriptor))
    running, over = threading.Barrier(4), threading.Event()

    def decode(place: int) -> None:
        with worker.running(9, place, 1000, 1000 * (place + 1)):
            running.wait(10)
            over.wait(10)

    threads = [threading.Thread(target=decode, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    running.wait(10)
    assert clock.decoding_bytes() == 6000
    over.set()
    for thread in threads:
        thread.join()
    assert clock.decoding_bytes() == 0
    worker.close()


def test_more_threads_than_the_page_has_places_are_not_watched_and_harm_nobody(clock: DecodeClock) -> None:
    running, over = threading.Barrier(decodeclock._MAX_THREADS + 4), threading.Event()

    def decode() -> None:
        with clock.running(1, 0, 1, 1):
            running.wait(30)
            over.wait(30)

    threads = [threading.Thread(target=decode) for _ in range(decodeclock._MAX_THREADS + 3)]
    for thread in threads:
        thread.start()
    running.wait(30)
    assert clock.decoding_bytes() == decodeclock._MAX_THREADS
    over.set()
    for thread in threads:
        thread.join()
    assert clock.decoding_bytes() == 0


def test_closing_gives_the_descriptor_back() -> None:
    clock = DecodeClock()
    descriptor = clock.descriptor
    assert descriptor is not None
    clock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert clock.decoding_bytes() is None
