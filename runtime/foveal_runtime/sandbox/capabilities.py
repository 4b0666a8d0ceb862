"""Root's powers, dropped from this thread for good (capabilities(7)). Knows nothing of files and system calls."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from foveal_runtime.sandbox.kernel import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    capset,
    prctl,
)

_VERSION_3 = 0x20080522
READ_EVERYTHING = 2
"""CAP_DAC_READ_SEARCH."""
_LAST = 63
"""A set has 64 bits; the kernel refuses numbers that it does not know."""


def held() -> int:
    """Capabilities that this thread may use or take up again, a bit each."""
    for line in Path("/proc/thread-self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "CapPrm":
            return int(value, 16)
    return 0


def drop(readable: Iterable[Path]) -> tuple[str, ...]:
    """Drop every capability, of the bounding and ambient sets too.

    Root without capabilities is a user like any other: where one of the folders is closed to it, reading alone is kept.

    Args:
        readable: folders that this process has yet to read.

    Returns:
        Names of capabilities that were kept.

    Raises:
        OSError: the kernel refused.
    """
    if not held():
        return ()
    with contextlib.suppress(OSError):  # kernels before 4.3
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_LAST + 1):
        with contextlib.suppress(OSError):  # no such capability, or no right to give one up: then there is none to gain
            prctl(PR_CAPBSET_DROP, number)
    permitted = held()
    _set(effective=0, permitted=permitted)
    keep = (1 << READ_EVERYTHING) & permitted if any(_closed(folder) for folder in readable) else 0
    _set(effective=keep, permitted=keep)
    return ("cap_dac_read_search",) if keep else ()


def _closed(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return False
    except PermissionError:
        return True
    except OSError:
        return False


def _set(*, effective: int, permitted: int) -> None:
    """capset(2): two halves of each set, and nothing to inherit."""
    header = struct.pack("=Ii", _VERSION_3, 0)
    halves = [struct.pack("=III", effective >> at & 0xFFFFFFFF, permitted >> at & 0xFFFFFFFF, 0) for at in (0, 32)]
    capset(header, b"".join(halves))
