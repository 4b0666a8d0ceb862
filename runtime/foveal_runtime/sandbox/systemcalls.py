"""Which system calls a thread may make, by seccomp (seccomp(2)).

A list of refusals, since nobody knows all that a library calls. Refused calls fail with EPERM, as without a right. x86-64
alone: the filter goes by numbers that differ between architectures.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable, Sequence

from foveal_runtime.sandbox.kernel import PR_SET_SECCOMP, prctl

ESCAPES = (
    ("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427),  # opens sockets without a call to be seen
    ("ptrace", 101), ("process_vm_readv", 310), ("process_vm_writev", 311), ("kcmp", 312), ("pidfd_getfd", 438),
    ("unshare", 272), ("setns", 308), ("chroot", 161), ("pivot_root", 155),
    ("mount", 165), ("umount2", 166), ("move_mount", 429), ("open_tree", 428), ("fsopen", 430), ("fsconfig", 431),
    ("fsmount", 432), ("fspick", 433), ("mount_setattr", 442), ("open_by_handle_at", 304),
    ("bpf", 321), ("perf_event_open", 298), ("userfaultfd", 323),
    ("add_key", 248), ("request_key", 249), ("keyctl", 250),
    ("kexec_load", 246), ("kexec_file_load", 320), ("init_module", 175), ("finit_module", 313), ("delete_module", 176),
    ("reboot", 169), ("swapon", 167), ("swapoff", 168), ("acct", 163), ("quotactl", 179),
)  # fmt: skip
"""Ways around what is refused, and doors into the kernel that no part of foveal needs."""
BEYOND = (
    ("connect", 42), ("bind", 49), ("listen", 50), ("accept", 43), ("accept4", 288),
    ("execve", 59), ("execveat", 322), ("fork", 57), ("vfork", 58),
    ("kill", 62), ("pidfd_send_signal", 424), ("rt_sigqueueinfo", 129), ("rt_tgsigqueueinfo", 297),
    ("chmod", 90), ("fchmod", 91), ("fchmodat", 268), ("fchmodat2", 452),
    ("chown", 92), ("fchown", 93), ("lchown", 94), ("fchownat", 260),
    ("setxattr", 188), ("lsetxattr", 189), ("fsetxattr", 190), ("setxattrat", 463),
    ("removexattr", 197), ("lremovexattr", 198), ("fremovexattr", 199), ("removexattrat", 466), ("file_setattr", 469),
    ("utime", 132), ("utimes", 235), ("utimensat", 280), ("futimesat", 261),
)  # fmt: skip
"""What a process needs none of that only computes: connections, programs, other processes, attributes of files."""
_SOCKET, _CLONE, _CLONE3 = 41, 56, 435
_AF_UNIX = 1
_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET."""
_THREAD = 0x00010000
_X86_64 = 0xC000003E
_X32 = 0x40000000
"""Bit of the numbers of a second table for the same calls."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the first argument the lower half."""
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000

Instruction = tuple[int, int, int, int]


def restrict(*, computes_alone: bool) -> None:
    """Restrict this thread and those that it starts. Needs `PR_SET_NO_NEW_PRIVS`, or CAP_SYS_ADMIN.

    Args:
        computes_alone: refuse every socket, every program and every process; else sockets other than Unix's alone.

    Raises:
        OSError: the kernel has no seccomp, or the processor is another.
    """
    if platform.machine() != "x86_64" or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no list of system calls for {platform.machine()}")
    code = b"".join(struct.pack("=HBBI", *each) for each in program(computes_alone=computes_alone))
    kept = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)))
    prctl(PR_SET_SECCOMP, 2, header)


def program(*, computes_alone: bool) -> list[Instruction]:
    """The filter in classic BPF, as (code, jump if true, jump if false, value)."""
    refused = [number for _, number in (*ESCAPES, *(BEYOND if computes_alone else ()))]
    if computes_alone:
        refused.append(_SOCKET)
    found = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _X86_64),
        _fail(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _fail(errno.EPERM),
        *_when(_CLONE3, [_fail(errno.ENOSYS)]),  # its flags lie in memory; libc then calls clone
        *_when(_CLONE, _clone(computes_alone)),
    ]
    if not computes_alone:
        found += _when(_SOCKET, [(_LOAD, 0, 0, _ARGUMENT), (_EQUAL, 0, 1, _AF_UNIX), _allow(), _fail(errno.EPERM)])
    for number in refused:
        found += _when(number, [_fail(errno.EPERM)])
    return [*found, _allow()]


def _clone(computes_alone: bool) -> Sequence[Instruction]:
    thread = [(_ANY_BIT, 1, 0, _THREAD), _fail(errno.EPERM)] if computes_alone else []
    return [(_LOAD, 0, 0, _ARGUMENT), (_ANY_BIT, 0, 1, _NAMESPACES), _fail(errno.EPERM), *thread, _allow()]


def _when(number: int, then: Iterable[Instruction]) -> list[Instruction]:
    """What is done with one call; `then` has to end with a return."""
    body = list(then)
    return [(_EQUAL, 0, len(body), number), *body]


def _fail(number: int) -> Instruction:
    return (_RETURN, 0, 0, _FAIL | number)


def _allow() -> Instruction:
    return (_RETURN, 0, 0, _ALLOW)
