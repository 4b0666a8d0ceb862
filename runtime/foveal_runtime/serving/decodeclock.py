"""Who decodes what, in how much memory, and since when on its own CPU clock: a page that a worker writes and its parent reads.

A decoder written in C can't be interrupted from within, and a process's CPU time is that of all it ever did. So a worker notes
where each of its threads begins with a photograph, and the parent compares with what the kernel says of that thread. Linux
alone offers both; elsewhere nothing is watched. A note costs no message.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOTE = struct.Struct("=qqqqqq")
"""1 + number of the job, place in it, thread, its CPU time at the beginning in ns, bytes of the file, and to decode it."""
_MAX_THREADS = 64
_SIZE = _NOTE.size * _MAX_THREADS
_FULL_GRACE_BYTES = 16 << 20
"""A file this large or larger may take twice the limit: entropy coding costs by the byte, and whoever sends much pays for it.
JPEG 2000 without loss takes some 0.2 s a megabyte."""


class DecodeClock:
    """The page, on either side."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Args:
        descriptor: of a page that another process made; None makes one, where there can be one.
        """
        if descriptor is None and sys.platform == "linux":
            descriptor = os.memfd_create("foveal-decode-clock")
            os.ftruncate(descriptor, _SIZE)
        self.descriptor = descriptor
        """To be inherited by the worker; None where nothing is watched."""
        self._page = mmap.mmap(-1 if descriptor is None else descriptor, _SIZE)
        self._slots = itertools.count()
        self._mine = threading.local()

    @contextmanager
    def running(self, number: int, place: int, size_bytes: int, decoded_bytes: int) -> Iterator[None]:
        """In the worker: this thread decodes a photograph of a job meanwhile."""
        at = self._slot()
        if at is None:
            yield
            return
        note = _NOTE.pack(number + 1, place, threading.get_native_id(), time.thread_time_ns(), size_bytes, decoded_bytes)
        self._page[at : at + _NOTE.size] = note
        try:
            yield
        finally:
            self._page[at : at + 8] = bytes(8)

    def _slot(self) -> int | None:
        if not hasattr(self._mine, "slot"):
            self._mine.slot = next(self._slots)
        return self._mine.slot * _NOTE.size if self._mine.slot < _MAX_THREADS else None

    def overrun(self, pid: int, number: int, limit_s: float) -> int | None:
        """In the parent: the place of a photograph of this job that has taken more CPU time than it may.

        Args:
            pid: of the worker.
            number: of the job.
            limit_s: CPU time of one photograph; twice that for the largest files.
        """
        for at in range(0, _SIZE, _NOTE.size):
            note = self._page[at : at + _NOTE.size]
            job, place, thread, began_ns, size_bytes, _ = _NOTE.unpack(note)
            if job != number + 1:
                continue
            used_ns = _cpu_ns(pid, thread)
            allowed_s = limit_s * (1 + min(1.0, size_bytes / _FULL_GRACE_BYTES))
            # Read again: a thread that has gone on to another photograph meanwhile is not meant.
            if used_ns is not None and used_ns - began_ns > allowed_s * 1e9 and self._page[at : at + _NOTE.size] == note:
                return int(place)
        return None

    def decoding_bytes(self) -> int | None:
        """In the parent: memory for all the photographs that are decoded now; None where the page is not shared."""
        if self.descriptor is None:
            return None
        return sum(int(decoded) for job, *_, decoded in _NOTE.iter_unpack(self._page[:]) if job)

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _cpu_ns(pid: int, thread: int) -> int | None:
    """What a thread of another process has used; None where the kernel does not tell, or there is none."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        task = Path(f"/proc/{pid}/task/{thread}")
        try:
            return int((task / "schedstat").read_text().split()[0])
        except OSError:  # a kernel without scheduler statistics counts in ticks
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return None
