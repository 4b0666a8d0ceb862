"""Import a room that may not be installed, and say which extra brings it. Knows no commands."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

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


def samples_of(specs: Sequence[str]) -> list[Any]:
    """Samples of data sets, read as training reads them; needs no PyTorch. What can't be read is left out.

    Raises:
        ConfigError: the room of data sets is not installed.
        DataError: a data set can't be read.
    """
    load: Any = import_room("foveal_train.data", extra="cpu").load
    return [sample for spec in specs for sample in load(spec, skip_bad=True).samples]


def missing_room(error: ModuleNotFoundError, extra: str) -> ConfigError:
    """What to say of a library that is not there."""
    return ConfigError(f"this command needs {error.name!r}, which is not installed; install foveal[{extra}]")
