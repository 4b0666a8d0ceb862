"""A store folder: its layout, foveal's own lock on it, and what a killed predecessor left behind. Starts no server.

DIR/foveal-store.json   marks the folder as ours
DIR/lock                held (flock) by the one foveal that runs PostgreSQL here; the kernel frees it at kill -9
DIR/conf/               postgresql.conf, pg_hba.conf, pg_ident.conf: written by foveal, never writable by PostgreSQL's user
DIR/pgdata/             PostgreSQL's data, 0700
DIR/run/                its socket, 0700
DIR/log/                its log
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from foveal_runtime.errors import ConfigError, StoreError
from foveal_runtime.store.runas import RunAs, check_reach

MARKER = "foveal-store.json"
LAYOUT = 1
SOCKET_NAME = ".s.PGSQL.5432"
_SUN_PATH_BYTES = 107
"""Longest path of a Unix socket (Linux: 108 bytes with the final NUL)."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Paths inside a store folder."""

    root: Path

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's data folder."""
        return self.root / "pgdata"

    @property
    def conf(self) -> Path:
        """Configuration that PostgreSQL reads and can't write."""
        return self.root / "conf"

    @property
    def log(self) -> Path:
        """PostgreSQL's log folder."""
        return self.root / "log"

    @property
    def start_log(self) -> Path:
        """What PostgreSQL printed before its own log was open."""
        return self.root / "start.log"

    @property
    def runtime_note(self) -> Path:
        """Where the running server's socket folder is written down, for `foveal store` commands."""
        return self.root / "running.json"

    def claim(self, user: RunAs) -> None:
        """Check that the folder is ours, or empty, or new, and make it. Needs no lock.

        Raises:
            ConfigError: the folder holds something else, or is of a newer layout.
            StoreError: it can't be made, or PostgreSQL's user can't reach it.
        """
        if any(letter < " " for letter in str(self.root)):
            # PostgreSQL's own files have a path a line.
            raise ConfigError(f"store folder {str(self.root)!r} has a control character in its name; name another folder")
        with _as_store_errors(self.root):
            if self.root.exists() and not self.root.is_dir():
                raise ConfigError(f"store location {self.root} is a file; name a folder, or a postgresql:// URL")
            if self.root.is_dir() and not self._is_ours():
                raise ConfigError(f"store folder {self.root} holds other files; name a new or empty folder")
            existing = next(p for p in (self.root, *self.root.parents) if p.exists())
            check_reach(existing, user, what="store folder")
            for missing in reversed([p for p in self.root.parents if not p.exists()]):
                missing.mkdir(exist_ok=True)
                if user.switched:
                    missing.chmod(missing.stat().st_mode | 0o111)  # a umask of 077 would close it to PostgreSQL's user
            # Entered by PostgreSQL's user when that is another one; listed by nobody else.
            if not self.root.exists():
                _make(self.root, 0o711 if user.switched else 0o700)
            check_reach(self.root, user, what="store folder")

    def prepare(self, user: RunAs) -> None:
        """Make the parts that are missing, with the lock held.

        Raises:
            StoreError: the folder can't be written.
        """
        with _as_store_errors(self.root):
            self._prepare(user)

    def _prepare(self, user: RunAs) -> None:
        marker = self.root / MARKER
        if not marker.exists():
            _write(marker, json.dumps({"layout": LAYOUT}) + "\n")
        if not self.conf.exists():
            _make(self.conf, 0o755)
        for part in (self.log, self.root / "run"):
            if not part.exists():
                part.mkdir(mode=0o700)
                _give(part, user)

    def _is_ours(self) -> bool:
        marker = self.root / MARKER
        if not marker.exists():
            # The lock is the first file a store gets.
            return all(entry.name in ("lock", "lost+found") for entry in self.root.iterdir())
        try:
            layout = json.loads(marker.read_text())["layout"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{marker} is damaged; restore it from a backup ('{{\"layout\": {LAYOUT}}}')") from error
        if layout > LAYOUT:
            raise ConfigError(f"store folder {self.root} has layout {layout}, this foveal knows {LAYOUT}; upgrade foveal")
        return True

    def lock_is_held(self) -> bool:
        """Whether a foveal runs PostgreSQL here now."""
        try:
            fd = os.open(self.root / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def socket_folder(self, user: RunAs) -> Path:
        """A folder for the socket whose path is short enough, owned by PostgreSQL's user, closed to all others."""
        run = self.root / "run"
        if _can_hold_a_socket(run):
            return run
        made = Path(tempfile.mkdtemp(prefix="foveal-"))
        _give(made, user)
        if not _can_hold_a_socket(made):
            made.rmdir()
            raise StoreError(
                f"neither {run} nor {made} can hold PostgreSQL's socket: at most {_SUN_PATH_BYTES - len(SOCKET_NAME) - 1} bytes"
                " of UTF-8 without a comma; set TMPDIR to such a folder"
            )
        return made

    def drop_socket_folder(self, folder: Path) -> None:
        """Remove a temporary socket folder; the one inside the store stays."""
        if folder != self.root / "run":
            shutil.rmtree(folder, ignore_errors=True)


class FolderLock:
    """foveal's own lock on a store folder. Two processes on one data folder would destroy it."""

    def __init__(self, root: Path) -> None:
        self._path = root / "lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or refuse at once.

        Raises:
            StoreError: another foveal holds it, or the folder is read-only.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"store folder {self._path.parent} can't be locked ({error.strerror}); {_mend(error)}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreError(f"store folder {self._path.parent} can't be locked ({error.strerror})") from error
            raise StoreError(
                f"store folder {self._path.parent} is in use by another foveal (process {holder or 'unknown'});"
                " stop that one, or let both use one server by --store postgresql://…"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def write_config(path: Path, text: str) -> None:
    """Replace a configuration file in one step, readable for PostgreSQL's user."""
    _write(path, text)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(os.fsencode(text))  # a folder's name may be no UTF-8
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(path)


def _make(folder: Path, mode: int) -> None:
    """Make a folder with exactly this mode, whatever the umask is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(mode)


def _can_hold_a_socket(folder: Path) -> bool:
    """Whether PostgreSQL and its clients can name a socket there: both take a comma for the end of a name."""
    path = os.fsencode(folder / SOCKET_NAME)
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return len(path) <= _SUN_PATH_BYTES and b"," not in path


def _give(path: Path, user: RunAs) -> None:
    if user.switched:
        os.chown(path, user.uid, user.gid)


def owned_by(path: Path, user: RunAs) -> bool:
    """Whether a folder belongs to the user and is a real folder, not a link."""
    info = path.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == user.uid


@contextlib.contextmanager
def _as_store_errors(root: Path) -> Iterator[None]:
    """Say which folder an operating-system error is about, and how to mend it."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"store folder {root} is unusable ({error.strerror}); {_mend(error)}") from error


def _mend(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "it is on a read-only file system; choose another folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "fix its owner or permissions, or choose another folder"
    return "choose another folder"
