"""What glibc's allocator is told, so that a process that runs for years keeps what it uses. Elsewhere it does nothing."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2
TRIM_EVERY = 200
"""Batches between two calls of `trim`; photographs of many sizes leave holes."""


def few_arenas() -> None:
    """Let all threads share two arenas: by default there are eight a core, each of which keeps its own free memory."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Give free memory back to the system. Milliseconds; holes between live blocks go back too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
