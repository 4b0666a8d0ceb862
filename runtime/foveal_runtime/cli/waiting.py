"""Wait for a server that is still loading or full for the moment. Never for one that is not there: that is an error at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from foveal_runtime.errors import LoadingError, OverloadedError

_T = TypeVar("_T")
_LOOK_AGAIN_S = 0.2


class Patience:
    """`Patience(60)(lambda: client.search(request))`: the call's answer, asked for again while the server says "not yet"."""

    def __init__(
        self, timeout_s: float, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Args:
        timeout_s: longest wait of one call.
        clock: seconds that only grow.
        sleep: waits so many seconds.
        """
        self._timeout_s, self._clock, self._sleep = timeout_s, clock, sleep
        self._said, self._saying = False, threading.Lock()

    def __call__(self, call: Callable[[], _T]) -> _T:
        """The answer. Safe in several threads.

        Raises:
            LoadingError: the server was still loading when the time was over.
            OverloadedError: it was still full then.
            FovealError: the call failed for another reason; nothing is waited for.
        """
        end = self._clock() + self._timeout_s
        while True:
            try:
                return call()
            except LoadingError as error:
                pause_s = _LOOK_AGAIN_S
                if self._clock() + pause_s > end:
                    raise LoadingError(f"{error} ({self._timeout_s:g} s were not enough: allow more with --timeout)") from None
                self._say()
            except OverloadedError as error:
                pause_s = error.retry_after_s
                if self._clock() + pause_s > end:
                    raise
            self._sleep(pause_s)

    def _say(self) -> None:
        """Say once that the server is waited for."""
        with self._saying:
            if not self._said:
                sys.stderr.write(f"waiting up to {self._timeout_s:g} s for the server, which is still loading\n")
                sys.stderr.flush()
            self._said = True
