"""System calls that Python has no function for. A leaf: decides nothing."""

from __future__ import annotations

import ctypes
import os

PR_CAPBSET_DROP, PR_CAP_AMBIENT, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 24, 47, 22, 38
PR_CAP_AMBIENT_CLEAR_ALL = 4


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """The result of a call of libc's.

    Raises:
        OSError: it was negative; `errno` says why.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: object) -> int:
    """A system call by its number.

    Raises:
        OSError: the kernel refused it, or does not know it.
    """
    return checked(_libc().syscall(ctypes.c_long(number), *arguments))


def prctl(option: int, *arguments: object) -> int:
    """prctl(2) with as many arguments as it takes.

    Raises:
        OSError: the kernel refused it.
    """
    rest = [*arguments, *[0] * (4 - len(arguments))]
    given = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in rest]
    return checked(_libc().prctl(option, *given))


def mount(source: str | None, target: str, flags: int) -> None:
    """mount(2) without a file system type.

    Raises:
        OSError: the kernel refused it.
    """
    checked(_libc().mount(source and source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def capset(header: bytes, data: bytes) -> None:
    """capset(2).

    Raises:
        OSError: the kernel refused it.
    """
    checked(_libc().capset(header, data))


def unshare(flags: int) -> None:
    """unshare(2).

    Raises:
        OSError: the kernel refused it.
    """
    checked(_libc().unshare(flags))
