"""Memory for decoding, shared by all threads of a process: a photograph waits until what it takes is free. Decodes nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """So many bytes in flight at most; first come, first served, so that small photographs do not keep a large one waiting."""

    def __init__(self, total_bytes: int) -> None:
        """Args:
        total_bytes: of everything that is held at once. One holder alone is always let in.
        """
        self._total = total_bytes
        self._held = 0
        self._turns: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Wait until there is room, and give it back at the end."""
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                while self._turns[0] is not turn or (self._held and self._held + size_bytes > self._total):
                    self._changed.wait()
                self._held += size_bytes
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= size_bytes
                self._changed.notify_all()
