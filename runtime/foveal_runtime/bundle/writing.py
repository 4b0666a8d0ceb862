"""Write a bundle's manifest, and its folder so that a half-written one is never seen: hidden beside the target until whole.

Makes no graph.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.bundle.bundle import MANIFEST, checksum_of, sha256_file
from foveal_runtime.bundle.manifest import NO_CHECKSUM, Graph, Manifest
from foveal_runtime.bundle.signing import sign_manifest
from foveal_runtime.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PARTIAL = ".partial-"


def check_target(target: Path, *, force: bool) -> None:
    """Refuse early what `staging` would refuse after minutes of work.

    Raises:
        ConfigError: the target exists and may not be replaced, or its folder can't be written.
    """
    if target.exists() or target.is_symlink():
        if not force:
            raise ConfigError(f"{target} exists; replace it with --force, or name another place with --out")
        if not (target / MANIFEST).is_file():
            raise ConfigError(f"{target} is no bundle, so --force does not replace it; name another place with --out")
    parent = target.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{target} can't be written: {parent} is not a writable folder; name another place with --out")


@contextlib.contextmanager
def staging(target: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write the bundle into; it becomes `target` when the block ends well and vanishes when it does not.

    Raises:
        ConfigError: see `check_target`.
    """
    check_target(target, force=force)
    with whole_or_nothing(target) as folder:
        yield folder


@contextlib.contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A folder that stands at `target`, in place of an earlier one, when the block ends well, and vanishes when it does not.

    Raises:
        ConfigError: it can't be written.
    """
    partial = target.absolute().with_name(f".{target.name}{_PARTIAL}{os.getpid()}")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        partial.mkdir()
    except OSError as error:
        raise ConfigError(f"{target} can't be written ({error.strerror}); name another place with --out") from None
    try:
        yield partial
        _sync(partial)
        _replace(partial, target.absolute())
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _sweep(target: Path) -> None:
    """Remove what exports that were killed left beside the target."""
    for left in target.absolute().parent.glob(f".{target.name}{_PARTIAL}*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and int(pid) != os.getpid() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Bytes before names: after a power cut a bundle that is there is whole."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _replace(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    old = partial.with_name(partial.name + ".old")
    target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def file_hashes(folder: Path, graphs: dict[str, Graph]) -> dict[str, str]:
    """SHA-256 of every file but the graphs and the manifest, by relative path."""
    own = {graph.file for graph in graphs.values()} | {MANIFEST}
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in own
    }


def write_manifest(folder: Path, manifest: Manifest, key: Ed25519PrivateKey | None = None) -> None:
    """Write manifest.json, its checksum in it, and its signature when there is a key: the last files of a bundle."""
    blank = manifest.model_copy(update={"checksum": NO_CHECKSUM})
    data = (blank.model_dump_json(indent=1) + "\n").encode()
    data = data.replace(NO_CHECKSUM.encode(), checksum_of(data).encode(), 1)
    (folder / MANIFEST).write_bytes(data)
    if key is not None:
        sign_manifest(folder, data, key)
