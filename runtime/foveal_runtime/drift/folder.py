"""Where the counts of a server's cameras are kept: a folder with a small JSON file each. Nothing in it is of a patient."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal_runtime.drift.signals import GRID
from foveal_runtime.drift.stream import Stream
from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import ConfigError, InputError

LOCK = "writer.lock"


def own(folder: Path) -> int:
    """Make the folder and be its only writer, until the descriptor is closed.

    Raises:
        ConfigError: it can't be written in, or another server writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"--drift {folder} can't be written in ({error.strerror}); name another folder, or let this user write"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigError(f"--drift {folder} is written by another server; give each server a folder of its own") from None
    return lock


def path_of(folder: Path, camera: str) -> Path:
    """The file of a camera."""
    return folder / f"{hashlib.sha256(camera.encode()).hexdigest()[:16]}.json"


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Replace a camera's file, durably: a reader and a crash see the old one or the new one whole.

    Raises:
        OSError: it can't be written.
    """
    path = path_of(folder, document["camera"])
    scratch = path.with_suffix(".new")
    with scratch.open("w", encoding="utf-8") as file:
        json.dump({"grid": GRID, **document}, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
    sync_folder(folder)


def read(folder: Path) -> list[Stream]:
    """Every camera of a folder, by name.

    Raises:
        InputError: there is no such folder, or a file of it is none of ours.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that `foveal serve --drift` writes")
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["grid"] == GRID:  # of another version: counting begins anew
                found.append(Stream.of(document))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} can't be read ({type(error).__name__}); remove it, and that camera is counted anew"
            ) from None
    return sorted(found, key=lambda stream: stream.camera)


def forget(folder: Path, camera: str) -> bool:
    """Remove a camera's file; a server that runs notices, and counts it anew. Whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        path_of(folder, camera).unlink()
        return True
    return False
