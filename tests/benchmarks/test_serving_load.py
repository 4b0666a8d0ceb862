"""The load of the serving benchmark: its schedule, its times from the planned arrival, its goodput. The clock is made up."""

from __future__ import annotations

import asyncio
import math
import selectors
import statistics
import sys
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from peers.load import GONE, Reply, closed_loop, leave, open_loop
from peers.tally import Call, Came, arrivals, percentile, summary

T = TypeVar("T")
RIGHT = (0.1, 0.2, 0.7)


class MadeUpTime(selectors.SelectSelector):
    """Waits for nothing: time jumps to the next moment at which something is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits for ever"
        self.now_s += timeout
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop in made-up time."""

    def __init__(self) -> None:
        self.made_up = MadeUpTime()
        super().__init__(self.made_up)

    def time(self) -> float:
        return self.made_up.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)


class SlowServer:
    """Answers one call after the other, each in `service_s`; refuses what it has no room for."""

    def __init__(self, service_s: float, *, room: int = 10**9, stall_s: float = 0.0, answer: tuple[float, ...] = RIGHT) -> None:
        self.service_s, self.room, self.answer = service_s, room, answer
        self.stall_s = stall_s
        """For so long the first call holds up its whole caller: the event loop."""
        self.sent, self.left = 0, 0
        self._free_s = 0.0

    async def send(self, photograph: int, timeout_s: float) -> Reply:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self.sent += 1
        if self.sent == 1:
            loop.made_up.now_s += self.stall_s
        now = loop.time()
        if round((self._free_s - now) / self.service_s) >= self.room:
            await asyncio.sleep(0.002)
            return Reply(code="RESOURCE_EXHAUSTED")
        self._free_s = max(self._free_s, now) + self.service_s
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self._free_s - now)
        except TimeoutError:
            self.left += 1
            raise
        return Reply(code="OK", probabilities=self.answer)

    async def close(self) -> None:
        return


def right(photograph: int, reply: Reply) -> bool:
    return reply.probabilities == RIGHT


def called(due_s: float, took_s: float, came: Came = Came.RIGHT, *, late_s: float = 0.0, code: str = "OK") -> Call:
    return Call(due_s=due_s, sent_s=due_s + late_s, ended_s=due_s + took_s, came=came, code=code)


def test_arrivals_are_those_of_a_poisson_process_and_the_same_for_every_server() -> None:
    moments = arrivals(50.0, 400.0, seed=7)
    assert moments == arrivals(50.0, 400.0, seed=7) != arrivals(50.0, 400.0, seed=8)
    assert all(0 < moment < 400 for moment in moments)
    assert moments == sorted(moments)
    assert len(moments) == pytest.approx(20_000, rel=0.03)
    gaps = [b - a for a, b in pairwise(moments)]
    # Of exponential gaps the deviation is the mean; evenly spaced calls would have none.
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.05)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_without_calls_there_is_no_percentile() -> None:
    assert percentile([], 0.99) is None


def test_a_call_that_was_never_answered_takes_for_ever() -> None:
    assert percentile([0.1, math.inf, 0.2], 0.5) == 0.2
    calls = [called(n, 0.1) for n in range(97)] + [called(n, 0.5, Came.LEFT, code="LEFT") for n in range(3)]
    found = summary(calls, 100.0, 0.5)
    assert (found["p50_ms"], found["p95_ms"]) == (100.0, 100.0)
    assert found["p99_ms"] is None


def test_goodput_counts_right_answers_in_time_alone() -> None:
    calls = [
        called(0.0, 0.1),
        called(0.1, 0.5),
        called(0.2, 0.6),
        called(0.3, 0.1, Came.WRONG),
        called(0.4, 0.01, Came.REFUSED, code="HTTP 503"),
        called(0.5, 0.03, Came.REFUSED, late_s=0.01, code="HTTP 503"),
        called(0.6, 0.5, Came.LEFT, code="LEFT"),
    ]
    found = summary(calls, 2.0, 0.5)
    assert found["goodput_per_s"] == 1.0
    assert found["good_share"] == pytest.approx(2 / 7, abs=1e-4)
    assert found["came"] == {"right": 3, "wrong": 1, "refused": 2, "left": 1}
    assert found["refused"] == {"HTTP 503": {"count": 2, "p50_ms": 10.0, "p99_ms": 20.0}}


def test_no_deadline_takes_every_right_answer_and_no_other() -> None:
    calls = [called(0.0, 100.0), called(0.0, 0.1, Came.WRONG), called(0.0, 0.1, Came.LEFT)]
    assert summary(calls, 1.0, math.inf)["goodput_per_s"] == 1.0


def test_times_in_an_open_loop_are_those_of_the_queue_whatever_came_before() -> None:
    moments = [0.0, 0.01, 0.02, 1.0]
    calls = run(open_loop(SlowServer(0.1), right, 1, moments, 10.0))
    assert [each.due_s - calls[0].due_s for each in calls] == pytest.approx(moments)
    assert [each.ended_s - each.due_s for each in calls] == pytest.approx([0.1, 0.19, 0.28, 0.1])
    assert all(each.came is Came.RIGHT for each in calls)


def test_a_caller_that_is_held_up_counts_from_when_it_was_due() -> None:
    """No coordinated omission: a loop that counts from when it sent would find 0.01 s for all but the first."""
    calls = run(open_loop(SlowServer(0.01, stall_s=0.3), right, 1, [0.0, 0.1, 0.2], 10.0))
    assert [each.sent_s - each.due_s for each in calls] == pytest.approx([0.0, 0.2, 0.1])
    assert [each.ended_s - each.due_s for each in calls] == pytest.approx([0.31, 0.22, 0.13])
    found = summary(calls, 1.0, 0.2)
    assert (found["p50_ms"], found["sent_late_p99_ms"]) == (pytest.approx(220.0), pytest.approx(200.0))
    assert found["goodput_per_s"] == 1.0


def test_above_capacity_callers_leave_at_their_deadline_and_time_starts_when_they_were_due() -> None:
    server = SlowServer(0.1)
    calls = run(open_loop(server, right, 1, arrivals(20.0, 10.0, seed=1), 0.5))
    gone = [each for each in calls if each.came is Came.LEFT]
    assert len(gone) == server.left > len(calls) / 2
    assert [each.ended_s - each.due_s for each in gone] == pytest.approx([0.5] * len(gone))
    found = summary(calls, 10.0, 0.5)
    assert found["p99_ms"] is None
    assert found["goodput_per_s"] < 5


def test_a_call_whose_deadline_has_passed_before_it_could_be_sent_is_not_sent() -> None:
    server = SlowServer(0.01, stall_s=2.0)
    calls = run(open_loop(server, right, 1, [0.0, 0.1], 0.5))
    assert server.sent == 1
    assert [each.came for each in calls] == [Came.RIGHT, Came.LEFT]
    assert summary(calls, 1.0, 0.5)["goodput_per_s"] == 0


def test_refusals_are_counted_with_how_quickly_they_came() -> None:
    calls = run(open_loop(SlowServer(0.1, room=2), right, 1, [0.0] * 5, 0.5))
    found = summary(calls, 1.0, 0.5)
    assert found["came"] == {"right": 2, "wrong": 0, "refused": 3, "left": 0}
    assert found["refused"]["RESOURCE_EXHAUSTED"] == {"count": 3, "p50_ms": 2.0, "p99_ms": 2.0}


def test_an_answer_that_is_not_foveals_is_wrong_however_quick() -> None:
    calls = run(open_loop(SlowServer(0.001, answer=(0.7, 0.2, 0.1)), right, 1, [0.0, 0.1], 0.5))
    assert [each.came for each in calls] == [Came.WRONG] * 2
    assert summary(calls, 1.0, 0.5)["goodput_per_s"] == 0


def test_a_closed_loop_sends_as_many_as_are_answered() -> None:
    server = SlowServer(0.1)
    calls, took_s = run(closed_loop(server, right, 3, callers=4, seconds=10.0, patience_s=10.0))
    assert len(calls) == server.sent
    assert summary(calls, took_s, math.inf)["goodput_per_s"] == pytest.approx(10.0, rel=0.02)
    assert summary(calls, took_s, math.inf)["p50_ms"] == pytest.approx(400.0)


def test_a_connection_that_breaks_is_a_refusal() -> None:
    class Broken(SlowServer):
        async def send(self, photograph: int, timeout_s: float) -> Reply:
            raise ConnectionResetError

    (made,) = run(open_loop(Broken(0.1), right, 1, [0.0], 0.5))
    assert (made.came, made.code) == (Came.REFUSED, GONE)


def test_callers_that_leave_are_gone_when_they_said() -> None:
    server = SlowServer(0.1)

    async def timed() -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        await leave(server, 1, 8, 0.25)
        return clock() - started

    assert run(timed()) == pytest.approx(0.25)
    assert (server.sent, server.left) == (8, 6)
