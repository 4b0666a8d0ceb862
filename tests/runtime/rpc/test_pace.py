"""Large messages of one caller arrive in turn, small ones at once, and none waits for one that is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from foveal_runtime.rpc import pace as pacing
from foveal_runtime.rpc.budget import ByteBudget
from foveal_runtime.rpc.inbox import Inbox, Received
from foveal_runtime.rpc.pace import PAUSED_BYTES, WINDOW_BYTES, Pace, Turn
from foveal_runtime.serving.turns import Share

ANN, BOB, STREAM = Share("ann"), Share("bob"), Share("ann", bulk=True)


@pytest.fixture(autouse=True)
def slow_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SLOW_S", 60.0)  # nothing is slow by accident


async def known(pace: Pace, caller: Share, size_bytes: int) -> None:
    """A caller that has sent one message."""
    (await pace.turn(caller)).over(size_bytes)


async def asked(pace: Pace, caller: Share, count: int) -> list[asyncio.Task[Turn]]:
    """So many messages that a caller would send at once; those are done whose turn it is."""
    turns = [asyncio.create_task(pace.turn(caller)) for _ in range(count)]
    await asyncio.sleep(0.02)
    return turns


def let_in(turns: list[asyncio.Task[Turn]]) -> int:
    return sum(turn.done() for turn in turns)


def end(turns: list[asyncio.Task[Turn]]) -> None:
    for turn in turns:
        turn.cancel()


async def test_small_messages_arrive_at_once() -> None:
    pace = Pace()
    await known(pace, ANN, 20_000)
    assert let_in(await asked(pace, ANN, 64)) == 64


async def test_large_ones_arrive_one_at_a_time_and_nobody_else_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BYTES_PER_S", 1e12)
    pace = Pace()
    await known(pace, ANN, WINDOW_BYTES)
    await known(pace, BOB, 20_000)
    large = await asked(pace, ANN, 3)
    assert let_in(large) == 1
    assert let_in(await asked(pace, BOB, 64)) == 64
    assert let_in(await asked(pace, STREAM, 1)) == 1  # another share
    large[0].result().over(WINDOW_BYTES)
    await asyncio.sleep(0.02)
    assert let_in(large) == 2
    end(large)


async def test_nothing_is_known_of_a_newcomer_so_few_of_its_messages_arrive_at_once() -> None:
    pace = Pace()
    turns = await asked(pace, ANN, 64)
    assert let_in(turns) == 4
    turns[0].result().over(20_000)
    await asyncio.sleep(0.02)
    assert let_in(turns) == 64


async def test_a_large_message_is_followed_by_a_pause_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BYTES_PER_S", PAUSED_BYTES / 0.2)
    pace = Pace()
    await known(pace, STREAM, PAUSED_BYTES)  # the same caller
    await known(pace, ANN, PAUSED_BYTES)
    await known(pace, ANN, PAUSED_BYTES)  # alone, it makes none
    await known(pace, BOB, 20_000)
    await known(pace, ANN, PAUSED_BYTES)
    turns = await asked(pace, ANN, 1)
    assert not let_in(turns)
    await asyncio.wait_for(turns[0], 5)
    turns[0].result().over(PAUSED_BYTES - 1)
    assert let_in(await asked(pace, ANN, 1)) == 1


async def test_another_caller_of_long_ago_is_nobody() -> None:
    pace = Pace()
    await known(pace, BOB, 20_000)
    pace._senders[BOB].asked_at -= pacing.ABOUT_S
    await known(pace, ANN, WINDOW_BYTES)
    assert let_in(await asked(pace, ANN, 1)) == 1


async def test_a_caller_who_sent_a_large_message_is_forgiven() -> None:
    pace = Pace()
    await known(pace, ANN, PAUSED_BYTES - 1)
    pacing_of = pace._senders[ANN]
    pacing_of.largest_at -= 3 * pacing.HALF_LIFE_S
    turns = await asked(pace, ANN, 64)
    assert let_in(turns) == 16
    end(turns)


async def test_a_message_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "SLOW_S", 0.05)
    monkeypatch.setattr(pacing, "SLOW_BYTES_PER_S", 1e12)
    pace = Pace()
    turns = await asked(pace, ANN, 5)
    assert let_in(turns) == 4
    await asyncio.wait_for(turns[4], 5)
    for turn in turns:
        turn.result().over()
    assert pace._senders[ANN].arriving == 0


async def test_a_call_that_ends_while_it_waits_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BYTES_PER_S", 1e12)
    pace = Pace()
    await known(pace, ANN, WINDOW_BYTES)
    first, second, third = await asked(pace, ANN, 3)
    second.cancel()
    await asyncio.sleep(0)
    first.result().over(WINDOW_BYTES)
    await asyncio.wait_for(third, 5)
    assert pace._senders[ANN].arriving == 1


@pytest.mark.parametrize("paced", [True, False])
async def test_calls_of_a_caller_receive_large_messages_one_by_one(monkeypatch: pytest.MonkeyPatch, paced: bool) -> None:
    """The twin: calls that share no pace receive all at once."""
    monkeypatch.setattr(pacing, "BYTES_PER_S", 1e12)
    together, most = 0, 0

    async def requests() -> AsyncIterator[Received]:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.02)
        together -= 1
        yield Received("photograph", WINDOW_BYTES)

    budget, pace = ByteBudget(1 << 40, WINDOW_BYTES), Pace()
    await known(pace, ANN, WINDOW_BYTES)
    inboxes = [Inbox(requests(), budget, ANN, None, pace if paced else Pace()) for _ in range(5)]
    assert await asyncio.gather(*(anext(inbox) for inbox in inboxes)) == ["photograph"] * 5
    assert (most == 1) is paced


async def test_a_large_message_is_parsed_off_the_event_loop() -> None:
    import threading

    async def requests() -> AsyncIterator[Received]:
        yield Received(b"whole", 5, lambda data: (data, threading.current_thread()))

    message, thread = await anext(Inbox(requests(), ByteBudget(100, 10), ANN))
    assert message == b"whole"
    assert thread is not threading.main_thread()
