"""Callers in closed and open loops, and callers that go away. Knows no protocol; every moment is the event loop's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from peers.tally import Call, Came


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a server said."""

    code: str
    """OK, or its protocol's word for no."""
    probabilities: tuple[float, ...] | None = None
    """Of the ICDR grades, where it is OK."""


class Sends(Protocol):
    """Asks one server."""

    async def send(self, photograph: int, timeout_s: float) -> Reply:
        """Ask for a photograph's grade.

        Raises:
            TimeoutError: no answer came in time; the server has been told, as far as its protocol can.
        """

    async def close(self) -> None:
        """Leave."""


Right = Callable[[int, Reply], bool]
"""Whether an answer is that of foveal's own engine, by the photograph's number."""
GONE = "GONE"
"""The code of a call whose connection broke."""


async def call(sender: Sends, right: Right, photograph: int, due_s: float, patience_s: float) -> Call:
    """Send one call now, and wait until `patience_s` after it was due."""
    clock = asyncio.get_running_loop().time
    sent_s = clock()
    left_s = due_s + patience_s - sent_s
    came, code = Came.LEFT, "LEFT"
    if left_s > 0:
        try:
            reply = await sender.send(photograph, left_s)
        except TimeoutError:
            pass
        except OSError:
            came, code = Came.REFUSED, GONE
        else:
            code = reply.code
            came = Came.REFUSED if reply.probabilities is None else Came.RIGHT if right(photograph, reply) else Came.WRONG
    return Call(due_s=due_s, sent_s=sent_s, ended_s=clock(), came=came, code=code)


async def closed_loop(
    sender: Sends, right: Right, photographs: int, *, callers: int, seconds: float, patience_s: float
) -> tuple[list[Call], float]:
    """So many callers, each sending its next when it has its answer; the calls, and how long all took until the last.

    Args:
        sender: of the server.
        right: judges answers.
        photographs: how many there are, sent in turn.
        callers: side by side.
        seconds: after which nobody sends any more.
        patience_s: of a caller.
    """
    clock = asyncio.get_running_loop().time
    turn, calls, started = itertools.cycle(range(photographs)), list[Call](), clock()

    async def caller() -> None:
        while (now := clock()) < started + seconds:
            made = await call(sender, right, next(turn), now, patience_s)
            calls.append(made)
            if made.came is Came.REFUSED:
                await asyncio.sleep(0.05)  # one that is refused at once would send nothing but refusals

    await asyncio.gather(*(caller() for _ in range(callers)))
    return calls, clock() - started


async def open_loop(sender: Sends, right: Right, photographs: int, moments: Sequence[float], patience_s: float) -> list[Call]:
    """Calls at given moments, whatever became of those before.

    Args:
        sender: of the server.
        right: judges answers.
        photographs: how many there are, sent in turn.
        moments: seconds from now, ascending.
        patience_s: of a caller, from its moment on.
    """
    clock = asyncio.get_running_loop().time
    started = clock()

    async def one(number: int, moment: float) -> Call:
        await asyncio.sleep(started + moment - clock())
        return await call(sender, right, number % photographs, started + moment, patience_s)

    return await asyncio.gather(*(one(number, moment) for number, moment in enumerate(moments)))


async def leave(sender: Sends, photographs: int, count: int, stay_s: float) -> None:
    """So many calls at once, whose callers all go away after `stay_s`, or earlier where they are answered."""

    async def one(number: int) -> None:
        try:
            await sender.send(number % photographs, stay_s)
        except (TimeoutError, OSError):
            return

    await asyncio.gather(*(one(number) for number in range(count)))


async def until(ready: Callable[[], Awaitable[bool]], seconds: float, pause_s: float = 0.05) -> None:
    """Ask until it is so.

    Raises:
        TimeoutError: it never was.
    """
    async with asyncio.timeout(seconds):
        while not await ready():
            await asyncio.sleep(pause_s)
