"""The writer of a trail: durable before it says so, one fsync for all records that wait, one writer a folder. Knows no RPC.

A record that could not be written whole is cut off again at once. From then on nothing is taken until a record could be
written, which is tried every second.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal_runtime.audit.chain import Place, read_segment
from foveal_runtime.audit.record import seal
from foveal_runtime.audit.segments import LOCK, segment_path, segments
from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import AuditError, ConfigError
from foveal_runtime.lifecycle import Event, tell

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
"""A segment is not begun anew before it holds as much; about 30,000 records."""
_TRY_AGAIN_S = 1.0
_LEAST_FREE_BYTES = 64 << 10
"""On a disk that was full, before it is tried again: one record might still fit into a block that is the trail's already."""

Body = Mapping[str, Any]


class Trail:
    """A trail that is open for writing, by a thread of its own. `append` may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        try_again_s: float = _TRY_AGAIN_S,
    ) -> None:
        """Open a folder, which is made when it is new, and cut off what a crash left of an unfinished record.

        Args:
            folder: of this trail alone.
            segment_bytes: from which on another file is begun.
            now: the time.
            try_again_s: pause between two tries when nothing can be written.

        Raises:
            ConfigError: the folder can't be written in, or another server writes there.
            CheckFailed: the last segment's chain is broken.
        """
        self.folder = folder
        self.on_change: Callable[[], None] = lambda: None
        """Called by the writer's thread when it can't write any more, and when it can again."""
        self._segment_bytes, self._now, self._try_again_s = segment_bytes, now, try_again_s
        self._lock = self._own()
        try:
            self._place, self._file, self._path, self._size = self._continue()
        except BaseException:
            os.close(self._lock)
            raise
        self.torn_bytes = self._place.torn_bytes
        """Of an unfinished record that was cut off."""
        self._failure, self._failed_at = "", ""
        self._dirty = False
        """What failed to be written may still stand at the end of the file."""
        self._owed: list[Body] = []
        """Records of the server itself that could not be written; they come before any other."""
        self._waiting: list[tuple[Sequence[Body], Future[None]]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last record."""
        return self._place.sequence, self._place.hash

    @property
    def failure(self) -> str:
        """Why nothing can be written; empty while it can."""
        return self._failure

    def check(self) -> None:
        """Raises:
        AuditError: nothing can be written now.
        """
        if self._failure:
            raise self._refusal()

    def append(self, bodies: Sequence[Body]) -> Future[None]:
        """Write records, together and in this order, with the time of now.

        Returns:
            Done when they are durable; an `AuditError` says that they are not, and that none of them is in the trail.
        """
        written: Future[None] = Future()
        written.set_running_or_notify_cancel()  # a caller that goes away cancels nothing: the record is of what was computed
        time = self._time()
        timed = [{"time": time, **body} for body in bodies]
        with self._changed:
            if self._failure or self._closing:
                written.set_exception(self._refusal())
            else:
                self._waiting.append((timed, written))
                self._changed.notify()
        return written

    def note(self, body: Body) -> None:
        """Write a record of the server itself: one that can't be written now is written before the next of any kind."""
        timed = {"time": self._time(), **body}
        with self._changed:
            self._owed.append(timed)
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and let another writer have the folder. Idempotent."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join()
        os.close(self._file)
        os.close(self._lock)

    def _time(self) -> str:
        return self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _refusal(self) -> AuditError:
        return AuditError(
            f"the audit trail can't be written ({self._failure or 'the server stops'}), and nothing is answered without its "
            f"record; send again later"
        )

    def _own(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(PermissionError):
                sync_folder(self.folder.parent)  # the folder itself may be new
        except OSError as error:
            raise ConfigError(
                f"--audit {self.folder} can't be written in ({error.strerror}); name another folder, or let this user write"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ConfigError(
                f"--audit {self.folder} is written by another server; give each server a folder of its own"
            ) from None
        return lock

    def _continue(self) -> tuple[Place, int, Path, int]:
        """Where the chain stands, and the file that is written on; what is torn is cut off."""
        place, found = Place(), segments(self.folder)
        if found:
            last = found[-1]
            with last.path.open("rb") as file:
                begun = file.readline()
            place.sequence, place.hash = last.first - 1, _previous_of(begun, place.hash)
            for _ in read_segment(last, place, last=True):
                pass
        path = found[-1].path if found else segment_path(self.folder, 1)
        try:
            file_number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(file_number).st_size - place.torn_bytes
            if place.torn_bytes:
                os.ftruncate(file_number, size)
                os.fsync(file_number)
            sync_folder(self.folder)
        except OSError as error:
            raise ConfigError(
                f"{path} can't be written ({error.strerror}); mend that, or name another folder with --audit"
            ) from None
        return place, file_number, path, size

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._closing or (self._owed and not self._failure),
                    self._try_again_s if self._failure else None,
                )
                waiting, self._waiting = self._waiting, []
                owed, closing = list(self._owed), self._closing
            self._commit(owed, waiting)
            if closing:
                return

    def _commit(self, owed: list[Body], waiting: list[tuple[Sequence[Body], Future[None]]]) -> None:
        bodies = [*owed, *(body for several, _ in waiting for body in several)]
        if self._failure:
            bodies.insert(
                len(owed), {"time": self._failed_at, "call": "server", "verdict": "interrupted", "reason": self._failure}
            )
        if not bodies:
            return
        try:
            self._write(bodies)
        except Exception as error:
            if not isinstance(error, OSError):
                log.error("the audit trail's writer failed", exc_info=error)
            self._fail(getattr(error, "strerror", None) or type(error).__name__)
            for _, written in waiting:
                written.set_exception(self._refusal())
            return
        with self._changed:
            del self._owed[: len(owed)]
            back, self._failure = bool(self._failure), ""
        if back:
            tell(Event.AUDIT_BACK, "the audit trail can be written again")
            self.on_change()
        for _, written in waiting:
            written.set_result(None)

    def _fail(self, why: str) -> None:
        with contextlib.suppress(OSError):
            self._cut()
        with self._changed:
            new, self._failure = not self._failure, why
            late, self._waiting = self._waiting, []
        if new:
            self._failed_at = self._time()
            tell(
                Event.AUDIT_LOST,
                f"the audit trail in {self.folder} can't be written ({why}): nothing is answered until it can; "
                f"make room, or mend the disk",
                level=logging.ERROR,
            )
            self.on_change()
        for _, written in late:
            written.set_exception(self._refusal())

    def _write(self, bodies: Sequence[Body]) -> None:
        """Append records, and wait until the disk has them.

        Raises:
            OSError: it does not; where the chain stands is as before.
        """
        self._cut()
        if self._failure and _free_bytes(self.folder) < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._size >= self._segment_bytes:
            self._begin_segment()
        self._check_in_place()
        sequence, previous, lines = self._place.sequence, self._place.hash, []
        for body in bodies:
            sequence += 1
            line, previous = seal(body, sequence, previous)
            lines.append(line)
        data = b"".join(lines)
        self._dirty = True
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]
        os.fdatasync(self._file)
        self._dirty = False
        self._size += len(data)
        self._place = Place(sequence, previous)

    def _cut(self) -> None:
        """Take away what a failed write left."""
        if self._dirty:
            os.ftruncate(self._file, self._size)
            os.fsync(self._file)
            self._dirty = False

    def _begin_segment(self) -> None:
        path = segment_path(self.folder, self._place.sequence + 1)
        # One that a failed try left is empty.
        new = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        sync_folder(self.folder)
        os.close(self._file)
        self._file, self._path, self._size = new, path, 0
        tell(
            Event.AUDIT_SEGMENT,
            f"the audit trail goes on in {path.name}; record {self._place.sequence} has the hash {self._place.hash}",
            sequence=self._place.sequence,
            hash=self._place.hash,
        )

    def _check_in_place(self) -> None:
        """A file that was moved or removed would take records that nobody finds."""
        ours = os.fstat(self._file)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            raise OSError(None, f"{self._path.name} was moved or removed; put it back, or start the server again")


def _previous_of(line: bytes, default: str) -> str:
    """The hash before a segment, by its first line; that line is checked afterwards."""
    try:
        return str(json.loads(line)["previous"])
    except (ValueError, KeyError, TypeError):
        return default


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
