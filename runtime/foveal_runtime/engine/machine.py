"""What a server needs of a machine beside its processor: room, open files, a clock that is right, no rights too many."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import time
from pathlib import Path

from foveal_runtime.engine.finding import Finding, Status
from foveal_runtime.sandbox.confine import Policy, Sandbox
from foveal_runtime.sandbox.probe import probe

_ROOM_BYTES, _LEAST_ROOM_BYTES = 2 << 30, 200 << 20
_FILES = 4096
"""What a server of the default limits may come to: a descriptor a connection, and those of workers, archive and libraries."""
_RELEASED = 1_767_225_600
"""2026-01-01: no foveal is older, so a clock that says less is wrong."""
_TIMEX_BYTES, _STATUS_AT, _UNSYNCHRONISED, _TIME_ERROR = 512, 40, 0x40, 5
"""Of struct timex on 64-bit Linux (adjtimex(2)), with room to spare."""


def disk(name: str, folder: Path) -> Finding:
    """Room where a folder lies or will lie.

    Args:
        name: of what is kept there.
        folder: which need not be there yet.
    """
    there = next((each for each in (folder, *folder.absolute().parents) if each.exists()), Path("/"))
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        says = f"{name} {folder} can't be looked at ({error.strerror})"
        return Finding(name="disk", status=Status.WARNING, says=says, mend="check its path")
    says = f"{free / 1e9:.1f} GB free for the {name} in {there}"
    if free < _ROOM_BYTES:
        status = Status.WRONG if free < _LEAST_ROOM_BYTES else Status.WARNING
        return Finding(name="disk", status=status, says=says, mend="free some room, or name a folder on another disk")
    return Finding(name="disk", status=Status.OK, says=says)


def descriptors() -> Finding:
    """Files and connections that a process may have open."""
    try:
        import resource
    except ImportError:
        return Finding(name="open files", status=Status.OK, says="this system does not say")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = "any number" if soft == resource.RLIM_INFINITY else f"{soft}"
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        return Finding(
            name="open files",
            status=Status.WARNING,
            says=f"{limit} at most for a process started here, {hard} if it asks: many clients at once would be refused",
            mend=f"LimitNOFILE={_FILES * 16} in the service's unit (deploy/systemd), or `ulimit -n {_FILES}` before",
        )
    return Finding(name="open files", status=Status.OK, says=f"{limit} at most for a process started here")


def clock(*, now: float | None = None) -> Finding:
    """Whether the clock is set and kept right.

    Args:
        now: seconds since 1970; None asks the clock.
    """
    seconds = time.time() if now is None else now
    says = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    if seconds < _RELEASED:
        return Finding(
            name="clock",
            status=Status.WRONG,
            says=f"{says}: before foveal was made, so certificates will seem not yet valid",
            mend="set the clock, and keep it with systemd-timesyncd or chrony",
        )
    synchronised = _synchronised()
    if synchronised is None:
        return Finding(name="clock", status=Status.OK, says=f"{says}; the kernel does not say whether it is kept")
    if not synchronised:
        return Finding(
            name="clock",
            status=Status.WARNING,
            says=f"{says}, and nothing keeps it right: certificates and records go by it",
            mend="start systemd-timesyncd or chrony; in a virtual machine whose host keeps the clock this is no fault",
        )
    return Finding(name="clock", status=Status.OK, says=f"{says}, kept right")


def _synchronised() -> bool | None:
    """What the kernel says of its clock; None where it says nothing."""
    state = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        found = ctypes.CDLL(None).adjtimex(state)
    except (OSError, AttributeError):
        return None
    if found < 0 or struct.calcsize("P") != 8:
        return None
    (status,) = struct.unpack_from("=i", state.raw, _STATUS_AT)
    return bool(found != _TIME_ERROR and not status & _UNSYNCHRONISED)


def user() -> Finding:
    """Whose rights a server that is started here would have."""
    if os.geteuid() == 0:
        return Finding(
            name="user",
            status=Status.WARNING,
            says="root: the server needs none of its rights, and doctor sees files that a service's user may not",
            mend="serve as a user of its own (deploy/systemd), and ask again as that user: runuser -u foveal -- foveal doctor",
        )
    return Finding(name="user", status=Status.OK, says=f"user id {os.geteuid()}, not root")


def sandbox(policy: Policy) -> Finding:
    """How far worker processes are restricted here, found by trying.

    Args:
        policy: of a worker.
    """
    if policy.mode is Sandbox.OFF:
        says = "switched off: workers may do all that the server may"
        return Finding(name="sandbox", status=Status.WARNING, says=says, mend="--sandbox auto")
    found = probe(policy)
    if found.level == "full":
        return Finding(name="sandbox", status=Status.OK, says=f"workers: {found}")
    return Finding(
        name="sandbox",
        status=Status.WRONG if policy.mode is Sandbox.STRICT else Status.WARNING,
        says=f"workers: {found}",
        mend="a kernel from 5.13 on that lists landlock in /sys/kernel/security/lsm, on x86-64, allows all of it "
        "(docs/operations.md)",
    )
