"""The messages of one call, each received when the budget has room for it and counted until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from foveal_runtime.errors import InputError, OverloadedError
from foveal_runtime.rpc.budget import ByteBudget, Reservation
from foveal_runtime.rpc.pace import Pace
from foveal_runtime.serving.turns import Share

ARRIVAL_S = 30.0
"""That room is kept for a message that does not come, while others wait for room: 64 MB at 17 Mbit/s."""
LARGE_BYTES = 256 << 10
"""From here on parsing, copying and hashing a message take longer than handing it to a thread."""
_RETRY_S = 1.0

_size: ContextVar[int | None] = ContextVar("foveal_message_bytes", default=None)


@dataclass(slots=True)
class Received:
    """What the deserialiser made of a message."""

    message: Any
    """Or the `InputError` that it is refused with."""
    size_bytes: int
    """On the wire. protobuf would serialise a message to tell its size, photographs too."""
    parse: Callable[[bytes], Any] | None = None
    """What makes a message of `message`, which is bytes; None where it has been parsed."""


def message_bytes() -> int | None:
    """Size of the message that this task works on; None outside of calls."""
    return _size.get()


class Inbox:
    """An iterator of valid messages that asks for the next when there is room."""

    def __init__(
        self,
        requests: AsyncIterator[Received],
        budget: ByteBudget,
        caller: Share,
        wait_s: float | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Args:
        requests: the caller's.
        budget: shared by all calls.
        caller: whose they are.
        wait_s: how long one waits for room; None is for ever, which slows its sender.
        pace: shared by all calls.
        """
        self._requests = requests
        self._budget, self._caller, self._wait_s = budget, caller, wait_s
        self._pace = Pace() if pace is None else pace
        self._held: dict[int, Reservation] = {}

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Any:
        """The next message.

        Raises:
            OverloadedError: there was no room in `wait_s`; or the message did not come, and others waited for its room.
            InputError: it is none that anybody may look at.
        """
        reservation = await self._budget.arriving(self._caller, wait_s=self._wait_s)
        try:
            turn = await self._pace.turn(self._caller)
            try:
                received = await self._receive()
                turn.over(received.size_bytes)
            finally:
                turn.over()
            reservation.arrived(received.size_bytes)
            # gRPC holds what it handed out until the next comes.
            message, received.message = received.message, None
            if received.parse is not None:
                message = await asyncio.to_thread(received.parse, message)
        except BaseException:
            reservation.release()
            raise
        if isinstance(message, InputError):
            reservation.release()
            raise message
        _size.set(received.size_bytes)
        self._held[id(message)] = reservation
        return message

    async def _receive(self) -> Received:
        # Asked for here: gRPC's iterator complains when it was made and never used, as of a call that is refused before.
        receiving = asyncio.ensure_future(anext(aiter(self._requests)))
        try:
            while not (await asyncio.wait((receiving,), timeout=ARRIVAL_S))[0]:
                if self._budget.wanted:
                    raise OverloadedError(
                        f"no message came within {ARRIVAL_S:g} s while others waited for its room; call again",
                        retry_after_s=_RETRY_S,
                    )
            return receiving.result()
        finally:
            receiving.cancel()

    def answered(self, message: Any) -> None:
        """Its answer was sent: it no longer counts."""
        self._held.pop(id(message)).release()

    def close(self) -> None:
        """The call is over."""
        for reservation in self._held.values():
            reservation.release()
        self._held.clear()
