"""Bytes are set aside before a message is received, shared among callers, and given back; calls have limits of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from foveal_runtime.errors import InputError, OverloadedError
from foveal_runtime.rpc import inbox as inboxes
from foveal_runtime.rpc.budget import ByteBudget, chosen_total
from foveal_runtime.rpc.inbox import Inbox, Received, message_bytes
from foveal_runtime.rpc.shares import CallShares, machine_of
from foveal_runtime.serving.turns import Share

ANN, BOB, STREAM = Share("ann"), Share("bob"), Share("ann", bulk=True)


async def test_a_caller_gets_half_and_the_next_finds_a_share() -> None:
    budget = ByteBudget(40, 10)
    held = [await budget.arriving(ANN) for _ in range(2)]
    with pytest.raises(OverloadedError, match="20 of them this caller's"):
        await budget.arriving(ANN, wait_s=0.01)
    other = await budget.arriving(BOB)
    assert budget.used == 30
    held[0].arrived(2)
    third = await budget.arriving(Share("cid"), wait_s=0.01)
    for each in (*held, other, third):
        each.release()
        each.release()
    assert budget.used == 0


async def test_streams_share_one_half_and_wait_for_as_long_as_it_takes() -> None:
    budget = ByteBudget(40, 10)
    first = await budget.arriving(STREAM)
    second = asyncio.create_task(budget.arriving(STREAM))
    await asyncio.sleep(0.01)
    assert not second.done()
    asked = await budget.arriving(ANN, wait_s=0)
    first.release()
    assert await second
    asked.release()


async def test_one_who_stops_waiting_holds_nothing() -> None:
    budget = ByteBudget(20, 10)
    held = await budget.arriving(ANN)
    waiting = asyncio.create_task(budget.arriving(ANN))
    await asyncio.sleep(0)
    held.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (budget.used, budget.wanted) == (0, False)


async def test_an_inbox_counts_a_message_until_it_is_answered() -> None:
    async def requests() -> AsyncIterator[Received]:
        yield Received("first", 3)
        yield Received("second", 4)
        yield Received(InputError("no message"), 2)

    budget = ByteBudget(40, 10)
    inbox = Inbox(requests(), budget, ANN)
    assert (await anext(inbox), budget.used, message_bytes()) == ("first", 3, 3)
    assert (await anext(inbox), budget.used) == ("second", 7)
    inbox.answered("first")
    with pytest.raises(InputError, match="no message"):
        await anext(inbox)
    assert budget.used == 4
    with pytest.raises(StopAsyncIteration):
        await anext(inbox)
    inbox.close()
    assert budget.used == 0


async def test_a_stream_that_sends_nothing_loses_its_room_to_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent() -> AsyncIterator[Received]:
        await asyncio.sleep(60)
        yield Received("never", 1)

    monkeypatch.setattr(inboxes, "ARRIVAL_S", 0.05)
    budget = ByteBudget(20, 10)
    idle = asyncio.create_task(anext(Inbox(silent(), budget, STREAM)))
    await asyncio.sleep(0.2)
    assert not idle.done()  # nobody else wants it
    room = await asyncio.wait_for(budget.arriving(STREAM), 5)
    with pytest.raises(OverloadedError, match="no message came"):
        await idle
    room.release()
    assert budget.used == 0


def test_the_budget_is_a_part_of_what_is_free_and_holds_two_messages_at_least() -> None:
    assert chosen_total(12_000, 100, 10_000) == 1_000
    assert chosen_total(120, 100, 10_000) == 200
    assert chosen_total(12_000_000, 100, 10_000) == chosen_total(None, 100, 10_000) == 40_000


def test_calls_are_limited_in_all_and_of_each_caller() -> None:
    calls = CallShares(3, 2)
    with calls(ANN), calls(STREAM):
        with pytest.raises(OverloadedError, match="of this caller"), calls(ANN):
            pass
        with calls(BOB), pytest.raises(OverloadedError, match="3 calls are in work"), calls(Share("cid")):
            pass
    with calls(ANN), calls(ANN):
        pass


def test_a_caller_who_calls_too_often_is_told_when_to_come_back() -> None:
    now = 0.0
    calls = CallShares(10, 10, per_s=2, clock=lambda: now)
    for _ in range(2):
        with calls(ANN):
            pass
    with pytest.raises(OverloadedError) as refused, calls(ANN):
        pass
    assert refused.value.retry_after_s == 0.5
    with calls(BOB):
        pass
    now = 0.5
    with calls(ANN):
        pass


def test_a_machine_is_one_caller_whatever_its_ports() -> None:
    assert machine_of("ipv4:10.0.0.7:51234") == machine_of("ipv4:10.0.0.7:2") == "ipv4:10.0.0.7"
    assert machine_of("ipv6:%5B::1%5D:51234") == "ipv6:%5B::1%5D"
    assert machine_of("unix:/run/foveal.sock") == "unix:/run/foveal.sock"
