"""Import a room that may not be installed, and say which extra brings it. Knows no commands."""

from __future__ import annotations

import importlib
from types import ModuleType

from foveal_runtime.errors import ConfigError


def import_room(module: str, *, extra: str) -> ModuleType:
    """Import `module` of another room.

    Raises:
        ConfigError: the room, or a library that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_room(error, extra) from None


def missing_room(error: ModuleNotFoundError, extra: str) -> ConfigError:
    """What to say of a library that is not there."""
    return ConfigError(f"this command needs {error.name!r}, which is not installed; install foveal[{extra}]")
