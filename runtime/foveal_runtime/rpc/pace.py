"""How fast one caller's messages are received: large ones one at a time, with pauses beside others. Counts no memory.

gRPC hands a message over in one piece, on the event loop: 55 MB take 40 ms and more, in which nobody else is answered, and ten
at once take ten times as long. A size is known when a message is here, but whoever sent large ones is likely to send more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from foveal_runtime.serving.turns import Share

WINDOW_BYTES = 8 << 20
"""That may arrive of one caller at once, by the largest message that it sent lately; one message always may."""
PAUSED_BYTES = WINDOW_BYTES // 2
"""From here on a message is followed by a pause while other callers are about."""
BYTES_PER_S = 100e6
"""Of such messages of one caller, which take a tenth of the event loop's time then."""
ABOUT_S = 2.0
"""Since another caller's last message: another is likely to come."""
HALF_LIFE_S = 5.0
"""In which the size that is expected of a caller halves."""
FIRST_BYTES = WINDOW_BYTES // 4
"""What is expected of a caller that has sent nothing yet."""
SLOW_S = 0.1
SLOW_BYTES_PER_S = 25e6
"""A message that takes longer than this comes through a slow network, or never: others of its caller need not wait for it."""
_REMEMBERED = 4096
"""Callers; the oldest are forgotten."""


@dataclass(eq=False, slots=True)
class _Sender:
    """One caller."""

    largest: int | None = None
    """Message that it sent lately, in bytes; None before the first."""
    largest_at: float = 0.0
    arriving: int = 0
    """Messages that were asked for and are not here, without slow ones."""
    asked_at: float = 0.0
    """When it last wanted to send one."""
    resumes_at: float = 0.0
    """When its pause is over."""
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    """Of the end of a pause for which somebody waits."""

    def expected(self, now: float) -> int:
        """Bytes of its next message."""
        return FIRST_BYTES if self.largest is None else self.largest >> int((now - self.largest_at) / HALF_LIFE_S)

    def took(self, size_bytes: int, now: float, *, alone: bool) -> None:
        """A message is here."""
        if self.largest is None or size_bytes >= self.expected(now):
            self.largest, self.largest_at = size_bytes, now
        if size_bytes >= PAUSED_BYTES and not alone:
            self.resumes_at = max(self.resumes_at, now) + size_bytes / BYTES_PER_S

    def go_on(self) -> None:
        """Let in as many as may arrive now."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self.waiting and (not self.arriving or (self.arriving + 1) * self.expected(now) <= WINDOW_BYTES):
            if now < self.resumes_at:
                if self.timer is None:
                    self.timer = loop.call_at(self.resumes_at, self._resume)
                return
            turn = self.waiting.popleft()
            if not turn.done():  # its call is not over
                self.arriving += 1
                turn.set_result(None)

    def _resume(self) -> None:
        self.timer = None
        self.go_on()

    def leave(self) -> None:
        """One that counted is here, is slow, or will not come."""
        self.arriving -= 1
        self.go_on()


class Turn:
    """A message that may arrive."""

    def __init__(self, sender: _Sender, alone: Callable[[], bool]) -> None:
        self._sender, self._alone, self._counts = sender, alone, True
        self._loop = asyncio.get_running_loop()
        patience_s = max(SLOW_S, sender.expected(self._loop.time()) / SLOW_BYTES_PER_S)
        self._slow = self._loop.call_later(patience_s, self._leave)

    def over(self, size_bytes: int | None = None) -> None:
        """It is here, or will not come. Idempotent.

        Args:
            size_bytes: of what arrived.
        """
        self._slow.cancel()
        if size_bytes is not None:
            self._sender.took(size_bytes, self._loop.time(), alone=self._alone())
        self._leave()

    def _leave(self) -> None:
        if self._counts:
            self._counts = False
            self._sender.leave()


class Pace:
    """Turns of callers to send a message. Lives on one event loop."""

    def __init__(self) -> None:
        self._senders: OrderedDict[Share, _Sender] = OrderedDict()

    async def turn(self, caller: Share) -> Turn:
        """Wait until one more message of a caller may arrive."""
        sender = self._sender(caller)
        loop = asyncio.get_running_loop()
        sender.asked_at = loop.time()
        turn = loop.create_future()
        sender.waiting.append(turn)
        sender.go_on()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                sender.leave()
            raise
        return Turn(sender, lambda: self._alone(caller, loop.time()))

    def _alone(self, caller: Share, now: float) -> bool:
        """Whether nobody else has sent anything lately."""
        others = (sender for share, sender in reversed(self._senders.items()) if share.name != caller.name)
        latest = next(others, None)
        return latest is None or now - latest.asked_at >= ABOUT_S

    def _sender(self, caller: Share) -> _Sender:
        sender = self._senders.setdefault(caller, _Sender())
        self._senders.move_to_end(caller)
        if len(self._senders) > _REMEMBERED:
            self._senders.popitem(last=False)
        return sender
