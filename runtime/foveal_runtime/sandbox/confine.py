"""Take from this process what it does not need, before it reads anything of a caller's; say what was reached, as observed.

Nothing here can be taken back. It holds for the calling thread and those that it starts, so it is called before there are
others.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from foveal_runtime.sandbox import capabilities, landlock, mounts, systemcalls
from foveal_runtime.sandbox.kernel import PR_SET_NO_NEW_PRIVS, prctl

_SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/bin", "/nix/store", "/gnu/store", "/proc", "/sys",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd",
    "/etc/ssl/openssl.cnf", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
)  # fmt: skip
"""What a Python process reads of a system; no place where anybody keeps keys, tokens or an archive."""
_NULL = "/dev/null"


class Sandbox(StrEnum):
    """How worker processes are restricted."""

    AUTO = "auto"
    """As far as this machine allows."""
    STRICT = "strict"
    """As `auto`, and a machine that does not allow all of it is refused."""
    OFF = "off"
    """Not at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What a process may go on doing."""

    mode: Sandbox = Sandbox.AUTO
    computes_alone: bool = True
    """It needs no device: no socket, no program and no other process, and it reads what is named here alone."""
    readable: tuple[str, ...] = ()
    """Paths beside Python's and the system's own."""
    writable: tuple[str, ...] = ()

    def to_text(self) -> str:
        """One word of a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Policy:
        """What `to_text` wrote."""
        values = json.loads(text)
        return cls(
            mode=Sandbox(values["mode"]),
            computes_alone=bool(values["computes_alone"]),
            readable=tuple(values["readable"]),
            writable=tuple(values["writable"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Confinement:
    """What was reached."""

    measures: tuple[str, ...] = ()
    """In words."""
    missing: tuple[str, ...] = ()
    """What was not reached, and why."""

    @property
    def level(self) -> str:
        """`full`, `partial` or `none`."""
        return ("partial" if self.missing else "full") if self.measures else "none"

    def __str__(self) -> str:
        parts = [", ".join(self.measures)] if self.measures else []
        parts += [f"not {', not '.join(self.missing)}"] if self.missing else []
        return f"{self.level} ({'; '.join(parts)})" if parts else self.level


def confine(policy: Policy) -> Confinement:
    """Restrict this process.

    Args:
        policy: what it may go on doing.

    Returns:
        What was reached; where a measure fails, the others are taken all the same.

    Raises:
        RuntimeError: other threads run already.
    """
    if policy.mode is Sandbox.OFF:
        return Confinement()
    if sys.platform != "linux":
        return Confinement(missing=(f"on {sys.platform}: it takes Linux",))
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        raise RuntimeError("threads that run already would stay as they are")
    for path in policy.writable:
        with contextlib.suppress(OSError):
            Path(path).mkdir(parents=True, exist_ok=True, mode=0o700)  # later it could not be made
    python = _python_folders()
    readable = [*map(Path, (*_SYSTEM, *policy.readable)), *python] if policy.computes_alone else [Path("/")]
    writable = [Path(_NULL), *map(Path, policy.writable)]
    if not policy.computes_alone:
        # Not /dev: root owns the disks there, and an owner needs no capability.
        writable += [*Path("/dev").glob("nvidia*"), Path("/dev/dri"), Path("/dev/shm"), Path(tempfile.gettempdir())]
    done: list[str] = []
    missing: list[str] = []

    def attempt(what: str, measure: Callable[[], str]) -> None:
        try:
            done.append(measure())
        except OSError as error:
            missing.append(f"{what} ({error.strerror or error})")

    # In this order: a mount namespace needs a capability, Landlock and a filter that there are no new privileges.
    attempt("files", lambda: _files_by_mounts(writable) if not landlock.version() else "")
    attempt("capabilities", lambda: _no_capabilities(python))
    attempt("no new privileges", _no_new_privileges)
    if landlock.version():
        attempt("files", lambda: _files_by_landlock(readable, writable, all_readable=not policy.computes_alone))
    attempt("system calls", lambda: _system_calls(policy.computes_alone))
    missing += _holes(writable)
    return Confinement(measures=tuple(filter(None, done)), missing=tuple(missing))


def _python_folders() -> list[Path]:
    """Where this Python and what it imports lies; the working directory is not meant."""
    here = Path(__file__).resolve().parents[2]
    entries = {Path(each).resolve() for each in sys.path if each and Path(each).exists()}
    entries |= {Path(each).resolve() for each in (sys.prefix, sys.base_prefix, sys.executable, sys.pycache_prefix) if each}
    entries |= {Path(each).resolve() for each in os.environ.get("LD_LIBRARY_PATH", "").split(":") if each}
    return sorted((entries - set(_working_directory())) | {here})


def _working_directory() -> list[Path]:
    """Where the process was started; nothing when that is gone."""
    try:
        return [Path.cwd()]
    except OSError:
        return []


def _no_capabilities(readable: Iterable[Path]) -> str:
    kept = capabilities.drop(readable)
    return f"no capabilities but {', '.join(kept)}: Python's folders are closed to others" if kept else "no capabilities"


def _no_new_privileges() -> str:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    return "no new privileges"


def _files_by_mounts(writable: Iterable[Path]) -> str:
    mounts.make_readonly(writable)
    return "files read-only in a mount namespace, all readable"


def _files_by_landlock(readable: Iterable[Path], writable: Iterable[Path], *, all_readable: bool) -> str:
    found = landlock.restrict(readable=readable, writable=writable)
    return f"files read-only by Landlock {found}{', all readable' if all_readable else ''}"


def _system_calls(computes_alone: bool) -> str:
    systemcalls.restrict(computes_alone=computes_alone)
    return "no network, programs or processes by seccomp" if computes_alone else "no network by seccomp"


def _holes(writable: Iterable[Path]) -> list[str]:
    """What can be done all the same."""
    found = []
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        found.append("without network: a socket could be made")
    allowed = [str(path.resolve()) for path in writable]
    for folder in {Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), *_working_directory()}:
        if any(str(folder) == each or str(folder).startswith(f"{each}/") for each in allowed):
            continue
        with contextlib.suppress(OSError):
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
            found.append(f"read-only: a file could be made in {folder}")
    return found
