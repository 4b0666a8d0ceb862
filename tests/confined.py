"""Code that a sandbox is tried with: started as a program of its own, it confines itself and reports what it could still do."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from foveal_runtime.sandbox import confine as sandbox


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> Callable[[Path], object]:
    return lambda _: socket.socket(family, kind).close()


def _syscall(number: int, *arguments: int) -> Callable[[Path], object]:
    def call(_: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), "")

    return call


def _fork(_: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread(_: Path) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def _thread_writes(folder: Path) -> None:
    found: list[OSError] = []

    def write() -> None:
        try:
            (folder / "by-a-thread").touch()
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    if found:
        raise found[0]


def _scratch(_: Path) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm"):
        pass


def _library(_: Path) -> None:
    import xml.dom.minidom  # noqa: F401 - of the standard library, and not imported before


ATTEMPTS: dict[str, Callable[[Path], object]] = {
    "internet socket": _socket(socket.AF_INET),
    "internet datagram socket": _socket(socket.AF_INET, socket.SOCK_DGRAM),
    "internet socket of version 6": _socket(socket.AF_INET6),
    "kernel socket": _socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "unix socket": _socket(socket.AF_UNIX),
    "new file": lambda folder: (folder / "new").touch(),
    "new folder": lambda folder: (folder / "folder").mkdir(),
    "appended": lambda folder: (folder / "file").open("a").close(),
    "truncated": lambda folder: os.truncate(folder / "file", 0),
    "renamed": lambda folder: (folder / "renamed").rename(folder / "other"),
    "removed": lambda folder: (folder / "removed").unlink(),
    "made readable": lambda folder: (folder / "file").chmod(0o666),
    "dated": lambda folder: os.utime(folder / "file"),
    "scratch file": _scratch,
    "file by a thread": _thread_writes,
    "secret read": lambda folder: (folder / "file").read_text(),
    "program": lambda _: subprocess.run(["/bin/true"], check=True),
    "process": _fork,
    "signal to the parent": lambda _: os.kill(os.getppid(), 0),
    "parent's environment": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "queue of the kernel": _syscall(425, 1, 0),  # io_uring_setup: a null pointer is EFAULT where it is allowed
    "thread": _thread,
    "library": _library,
    "in the cache": lambda folder: (folder / "cache" / "kept").write_text("kernels"),
    "own end": lambda _: signal.raise_signal(signal.SIGURG),
}
"""By a name; each raises OSError where it is refused."""
_BAD_ADDRESS = 14


def main() -> None:
    """`python confined.py POLICY FOLDER`: one JSON document."""
    policy, folder = sandbox.Policy.from_text(sys.argv[1]), Path(sys.argv[2])
    if "without-landlock" in sys.argv:
        sandbox.landlock.version = lambda: 0
    reached = sandbox.confine(policy)
    allowed = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt(folder)
        except OSError as error:
            if error.errno != _BAD_ADDRESS:
                continue
        allowed.append(name)
    status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    told = {name: status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
    sys.stdout.write(json.dumps({"level": reached.level, "says": str(reached), "allowed": allowed, "status": told}))


if __name__ == "__main__":
    main()
