"""The folder outside of bundles where this machine keeps what it measured and compiled: this user's alone. Knows no graphs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from foveal_runtime.errors import ConfigError

_NO_HOME = Path("/nonexistent")
"""The home of those who have none, in Debian's and others' user tables."""


def cache_root() -> Path:
    """`$FOVEAL_CACHE/foveal`, else `$XDG_CACHE_HOME/foveal`, else `~/.cache/foveal`."""
    base = os.environ.get("FOVEAL_CACHE") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "foveal"
    except RuntimeError:
        # A user id without a name or HOME. Nothing was kept there, so a server finds nothing, and who would write is refused.
        return _NO_HOME / "foveal"


def private_folder(folder: Path) -> Path:
    """Make a folder below `cache_root` that only this user can enter.

    Raises:
        ConfigError: it can't be made, or it or the root is somebody else's, a link, or open to others.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"{folder} can't be made ({error.strerror}); set FOVEAL_CACHE to a folder you may write in") from None
    check_private(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} can't be written; set FOVEAL_CACHE to a folder you may write in")
    return folder


def replace_file(path: Path, text: str) -> None:
    """Put a file into a folder below `cache_root`, which is made, in one step: a reader sees the old one or the new one whole.

    Raises:
        ConfigError: see `private_folder`.
        OSError: the file can't be written.
    """
    private_folder(path.parent)
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.rename(path)


def check_private(folder: Path) -> None:
    """Refuse a folder that another user could have written in: what lies there runs inside the server.

    Raises:
        ConfigError: the folder or the one around it is missing, a link, somebody else's, or open to others.
    """
    for part, closed in ((folder.parent, 0o022), (folder, 0o077)):
        try:
            found = part.lstat()
        except OSError as error:
            raise ConfigError(f"{part} can't be looked at ({error.strerror}); run `foveal compile` again") from None
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{part} is no folder; remove it, or set FOVEAL_CACHE to another place")
        if found.st_uid != os.geteuid():
            raise ConfigError(f"{part} belongs to another user; remove it, or set FOVEAL_CACHE to another place")
        if stat.S_IMODE(found.st_mode) & closed:
            raise ConfigError(f"{part} is open to other users; `chmod 700 {part}`, or set FOVEAL_CACHE to another place")
