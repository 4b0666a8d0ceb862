"""Files that hold a secret: read only when nobody but their owner can. Knows nothing of what they hold.

The rule is PostgreSQL's for its keys: 0600 or less, and 0640 where root owns the file, so that a group may be given it.
"""

from __future__ import annotations

import os
from pathlib import Path

from foveal_runtime.errors import ConfigError

_OTHERS, _ROOTS_GROUP = 0o077, 0o040
_MOST_BYTES = 4 << 20


def read_private(path: Path, what: str) -> bytes:
    """The bytes of a file.

    Args:
        path: of the file; links are followed, as a Kubernetes volume has them.
        what: the file in words, for the message, for example `--tls-key`.

    Raises:
        ConfigError: it can't be read, is too large, or others than its owner can read or write it.
    """
    try:
        # A pipe would wait here for its other end.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if os.name == "posix" and _is_open(os.fstat(file.fileno())):
                raise ConfigError(f"{what} {path} can be read or changed by others than its owner; chmod 600 {path}")
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{what} {path} can't be read ({error.strerror}); check the path and its permissions") from None
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{what} {path} has more than {_MOST_BYTES >> 20} MB; give the right file")
    return data


def read_word(path: Path, what: str) -> str:
    """The one line of a file, as of a password; the line's end is left out.

    Raises:
        ConfigError: as `read_private`; or it holds no line, several, or none that is UTF-8.
    """
    try:
        text = read_private(path, what).decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise ConfigError(f"{what} {path} holds no single line of text; write the secret into it, and nothing else")
    return text


def _is_open(status: os.stat_result) -> bool:
    allowed = _ROOTS_GROUP if status.st_uid == 0 else 0
    return bool(status.st_mode & _OTHERS & ~allowed)
