"""How `foveal store` reaches an archive: where it lies, and the password, never in the command's arguments."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from foveal_runtime.store import Archive, StoreOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Password:
    """Where the password of a postgresql:// URL is."""

    store_password_file: Path | None = None
    "File with the password of a postgresql:// URL; otherwise PGPASSFILE, ~/.pgpass or a service says it."


def options_for(location: str, password: Password | None, **more: Any) -> StoreOptions:
    """How a command opens an archive.

    Raises:
        ConfigError: the location is a URL with a password in it, or the password's file can't be used.
    """
    from foveal_runtime.store import StoreOptions
    from foveal_runtime.store.location import is_url, read_password, refuse_password

    refuse_password(location)
    path = None if password is None else password.store_password_file
    if path is not None and not is_url(location):
        raise ConfigError("--store-password-file is for a postgresql:// URL, and the location is a folder; leave it out")
    return StoreOptions(maintain=False, password=None if path is None else read_password(path), **more)


def inspect(location: str, collection: str, password: Password | None) -> Coroutine[Any, Any, Archive]:
    """An archive that exists, opened for a look."""
    from foveal_runtime.store import Archive

    # An exact search of a large collection may take its time here.
    options = options_for(location, password, statement_timeout_s=600)
    return Archive.inspect(location, collection=collection, options=options)
