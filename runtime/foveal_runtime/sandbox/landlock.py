"""Which files a thread may read and write, by Landlock (landlock(7), Linux 5.13 and later). Needs no privilege.

Landlock knows nothing of modes, owners and times of files: `systemcalls` refuses to change those.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from enum import IntFlag
from pathlib import Path

from foveal_runtime.sandbox.kernel import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same numbers on every architecture."""
_ASK_VERSION, _PATH_BENEATH = 1, 1


class Access(IntFlag):
    """What may be done with files; named as in linux/landlock.h."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_READ = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
_FIRST = Access((1 << 13) - 1)
"""What version 1 knows."""
_ADDED = {2: Access.REFER, 3: Access.TRUNCATE, 5: Access.IOCTL_DEV}
"""By the version that brought it."""
_OF_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
_TCP, _TCP_FROM = 0b11, 4
"""To bind and to connect, from version 4 on."""
_OUTSIDE, _OUTSIDE_FROM = 0b11, 6
"""Abstract sockets of others, and signals to them."""


def version() -> int:
    """Landlock's version in this kernel; 0 where it has none, or was not started with it."""
    try:
        return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    except OSError:
        return 0


def restrict(*, readable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Restrict this thread and those that it starts. Needs `PR_SET_NO_NEW_PRIVS`, or CAP_SYS_ADMIN.

    Args:
        readable: what may be read, folders with all that is below them.
        writable: what may be read and written. Paths that there are none of are left out.

    Returns:
        The version that was used.

    Raises:
        OSError: the kernel has no Landlock.
    """
    found = version()
    if not found:
        raise OSError("this kernel has no Landlock")
    handled = _FIRST
    for since, access in _ADDED.items():
        handled |= access if found >= since else Access(0)
    attributes = struct.pack("=Q", handled)
    if found >= _TCP_FROM:
        attributes += struct.pack("=Q", _TCP)
    if found >= _OUTSIDE_FROM:
        attributes += struct.pack("=Q", _OUTSIDE)
    ruleset = syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(ruleset, path, _READ & handled)
        for path in writable:
            _allow(ruleset, path, handled)
        syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return found


def _allow(ruleset: int, path: Path, access: Access) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it is not there, or closed to this user anyway
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, opened)
        syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(opened)
