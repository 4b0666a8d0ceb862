"""A value that is made of files, and made again when they change; while the new ones can't be used, the last good value stays.

Starts no thread: whoever owns it looks now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from foveal_runtime.errors import ConfigError

T = TypeVar("T")
log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, ...] | None, ...]


class Watched(Generic[T]):
    """One value. `look` may run in another thread than those that read `value`."""

    def __init__(self, name: str, paths: Sequence[Path], make: Callable[[], T]) -> None:
        """Args:
        name: the files in words, for the log.
        paths: of the files.
        make: reads them, and raises a `ConfigError` where they can't be used.

        Raises:
            ConfigError: they can't be used now, and there is no earlier value.
        """
        self.name = name
        self._paths, self._make = tuple(paths), make
        self._used = self._seen = self._stamp()
        self.value = make()
        self.is_current = True
        """Whether the value is that of the files as they are now."""

    def look(self, *, at_once: bool = False) -> bool:
        """Make the value again where the files have changed; whether it is a new one.

        Args:
            at_once: do so although they changed since the last look. Otherwise they have to be the same in two looks, so that
                files that are being written, a certificate whose key comes next, are not read halfway.
        """
        stamp = self._stamp()
        is_stable = stamp == self._seen
        self._seen = stamp
        if stamp == self._used or not (is_stable or at_once):
            return False
        self._used = stamp
        try:
            self.value = self._make()
        except ConfigError as error:
            self.is_current = False
            log.error("%s: the changed file is not used, what was read before goes on: %s", self.name, error)
            return False
        self.is_current = True
        log.info("%s: read again", self.name)
        return True

    def _stamp(self) -> _Stamp:
        return tuple(_stamp_of(path) for path in self._paths)


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    """What tells a file from what it was; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
