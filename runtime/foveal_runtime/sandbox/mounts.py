"""A file system that this process alone sees read-only, for kernels without Landlock (mount_namespaces(7)).

Needs CAP_SYS_ADMIN. Unlike Landlock it can't keep a process from reading.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from foveal_runtime.sandbox.kernel import mount, unshare

_CLONE_NEWNS = 0x00020000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_KEPT = {"nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x400, "nodiratime": 0x800, "relatime": 0x200000}
"""Options that a remount has to name, since it would drop them."""


def make_readonly(writable: Iterable[Path]) -> None:
    """Leave the mounts of all others, and remount every file system read-only in this process's own.

    Args:
        writable: folders that stay as they are.

    Raises:
        OSError: the kernel refused; file systems may be read-only in part then.
    """
    unshare(_CLONE_NEWNS)
    mount(None, "/", _REC | _PRIVATE)  # what happens here is nobody else's
    kept = []
    for path in writable:
        if path.exists():
            kept.append(str(path.resolve()))
            mount(kept[-1], kept[-1], _BIND | _REC)  # a mount of its own
    for target, options in _mounted():
        if any(target == each or target.startswith(f"{each}/") for each in kept):
            continue
        flags = sum(_KEPT.get(option, 0) for option in options)
        with contextlib.suppress(FileNotFoundError):  # unmounted since, or covered by another
            mount(None, target, _REMOUNT | _BIND | _RDONLY | flags)


def _mounted() -> list[tuple[str, list[str]]]:
    """Mount points with their options."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        target = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
        found.append((target, fields[5].split(",")))
    return found
