"""Memory of the machine and of processes, and what glibc is told so that a process keeps what it uses. Linux alone tells."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
from pathlib import Path

from foveal_runtime.errors import ConfigError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)", re.IGNORECASE)
_UNITS = {"": 1e6, "b": 1.0} | {
    f"{prefix}{end}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for base, ends in ((1000.0, ("", "b")), (1024.0, ("i", "ib")))
    for end in ends
}

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_ARENAS = 2
WORKER_MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Environment of a worker process. glibc's arenas grow by the number of threads, and stay. Blocks of megabytes are by default
mapped and unmapped each time, and the system clears every page of them."""
_KEPT_BYTES = 1 << 30
TRIM_EVERY = 50
"""Batches between two calls of `trim`; photographs leave holes: two workers with `edge` took 260 MB at most with 200, 225 with
50, at the same speed (docs/decisions.md)."""


def few_arenas() -> None:
    """Let all threads share two arenas: by default there are eight a core, each of which keeps its own free memory."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def keep_freed() -> None:
    """Keep freed memory, that of large blocks too, until `trim`.

    By default each block of megabytes is mapped when it is made and unmapped when it is freed, and the system clears every page
    of it: copying 55 MB takes 40 ms of CPU, and 9 where the memory is there.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def leave_loaded() -> None:
    """Have the garbage collector leave alone what is there now, and lives as long as the process: looking through all that a
    server has imported held up its calls for 30 to 70 ms each time (docs/decisions.md)."""
    gc.collect()
    gc.freeze()


def trim() -> None:
    """Give free memory back to the system. Milliseconds; holes between live blocks go back too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def free_bytes(*, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What this process may still take: of the machine's memory, or of its control group's where that is less.

    Args:
        proc: where the kernel tells of memory; another folder in tests.
        cgroup: where control groups are mounted; a container sees its own there, other processes find theirs below it.

    Returns:
        Bytes; None where nobody tells.
    """
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        line = next(line for line in (proc / "meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    for folder, most, used in _groups(proc, cgroup):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            found.append(int((folder / most).read_text()) - int((folder / used).read_text()))
    return max(0, min(found)) if found else None


def _groups(proc: Path, cgroup: Path) -> list[tuple[Path, str, str]]:
    """Control groups that bound this process, with the names of their files, of version 2 and of version 1."""
    of_2, of_1 = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    found = [(cgroup, *of_2), (cgroup / "memory", *of_1)]
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                found.append((cgroup / path.lstrip("/"), *of_2))
            elif "memory" in controllers.split(","):
                found.append((cgroup / "memory" / path.lstrip("/"), *of_1))
    return found


def megabytes(text: str) -> float:
    """Megabytes of a size as people write it: `512MB`, `2 GB`, `1.5GiB`, or a plain number of megabytes.

    Raises:
        ConfigError: no such size, or none above 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[found[2].lower()] / 1e6 if found else 0.0
    if size <= 0:
        raise ConfigError(f"memory is {text!r}; give a size such as 512MB or 2GB")
    return size


def proportional_bytes(pid: int) -> int:
    """Memory of a process, each shared page divided among those that share it; 0 where nobody tells."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
