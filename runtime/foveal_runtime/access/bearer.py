"""A caller's own token, from a file: what a call sends of it. A file that changes is read again. Calls nothing."""

from __future__ import annotations

from pathlib import Path

from foveal_runtime.access.private import read_word
from foveal_runtime.access.tokens import is_token
from foveal_runtime.access.watching import Watched
from foveal_runtime.errors import ConfigError

HEADER = "authorization"
SCHEME = "Bearer "


class Bearer:
    """The metadata of a client's calls."""

    def __init__(self, path: Path | None) -> None:
        """Args:
        path: of the file; None sends nothing.

        Raises:
            ConfigError: it can't be read, others can, or it holds no token.
        """
        self._file = None if path is None else Watched("--token-file", (path,), lambda: _read(path))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call sends."""
        if self._file is None:
            return ()
        self._file.look(at_once=True)
        return ((HEADER, SCHEME + self._file.value),)


def _read(path: Path) -> str:
    token = read_word(path, "--token-file")
    if not is_token(token):
        raise ConfigError(f"--token-file {path} holds no token; write there what `foveal token add` printed, and nothing else")
    return token
