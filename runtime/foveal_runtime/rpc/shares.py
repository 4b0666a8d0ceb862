"""Who calls, and how many calls of one caller may be in work. Knows no bytes and no studies.

A caller is its token's name where tokens are asked for, else its certificate's where clients show one, else its machine's
address: a thousand connections are one caller.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from foveal_runtime.errors import OverloadedError
from foveal_runtime.serving.turns import NOBODY, Share

_RETRY_S = 0.5
_REMEMBERED = 4096
"""Callers whose rates are kept; the oldest are forgotten."""


_current: ContextVar[Share] = ContextVar("foveal_caller", default=NOBODY)


def begin(context: Any, *, bulk: bool, name: str = "") -> Share:
    """Remember whose call runs from here on.

    Args:
        context: of the call.
        bulk: it is a stream.
        name: of its caller's token; empty where none is asked for.
    """
    names = context.auth_context().get("x509_subject_alternative_name") or context.auth_context().get("x509_common_name")
    caller = Share(name or (names[0].decode(errors="replace") if names else machine_of(context.peer())), bulk)
    _current.set(caller)
    return caller


def current() -> Share:
    """Whose call runs; nobody's outside of calls."""
    return _current.get()


def machine_of(peer: str) -> str:
    """gRPC's name of the other end without its port: `ipv4:10.0.0.7:51234` is `ipv4:10.0.0.7`."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


class CallShares:
    """How many calls are in work, in all and of each caller, and how often each calls. Lives on one event loop."""

    def __init__(self, limit: int, each: int, per_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        limit: of calls in work.
        each: of those of one caller.
        per_s: calls a second of one caller, of which a second's worth may come at once; 0 is no limit.
        clock: in seconds.
        """
        self._limit, self._each, self._per_s, self._clock = limit, each, per_s, clock
        self._count = 0
        self._of: defaultdict[str, int] = defaultdict(int)
        self._rates: dict[str, tuple[float, float]] = {}  # by caller: calls that it may make at once, and when that was

    @contextmanager
    def __call__(self, caller: Share) -> Iterator[None]:
        """Be one of them.

        Raises:
            OverloadedError: as many as may be are in work, or this caller calls too often.
        """
        name = caller.name
        if self._count >= self._limit:
            raise OverloadedError(
                f"{self._count} calls are in work and {self._limit} may; send again later", retry_after_s=_RETRY_S
            )
        if self._of.get(name, 0) >= self._each:
            raise OverloadedError(
                f"{self._of[name]} calls of this caller are in work and {self._each} may; send again later",
                retry_after_s=_RETRY_S,
            )
        self._check_rate(name)
        self._count += 1
        self._of[name] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._of[name] -= 1
            if not self._of[name]:
                del self._of[name]

    def _check_rate(self, name: str) -> None:
        if self._per_s <= 0:
            return
        now, most = self._clock(), max(1.0, self._per_s)
        left, at = self._rates.pop(name, (most, now))
        left = min(most, left + (now - at) * self._per_s)
        self._rates[name] = (left - 1 if left >= 1 else left, now)
        while len(self._rates) > _REMEMBERED:
            del self._rates[next(iter(self._rates))]
        if left < 1:
            raise OverloadedError(
                f"a caller may make {self._per_s:g} calls a second; send again later", retry_after_s=(1 - left) / self._per_s
            )
