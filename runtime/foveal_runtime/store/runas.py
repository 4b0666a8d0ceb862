"""Which operating-system user PostgreSQL runs as, and whether that user can reach a folder. Changes nothing.

PostgreSQL refuses to run as root, so a foveal started as root gives it an unprivileged user.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.errors import ConfigError, StoreError

_CANDIDATES = ("foveal", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class RunAs:
    """An operating-system user."""

    name: str
    uid: int
    gid: int
    switched: bool
    """True when it is not the user foveal itself runs as."""


def choose(folder: Path, wanted: str = "") -> RunAs:
    """The user for a data folder: foveal's own, or as root the one asked for, the folder's owner, or a known service user.

    Raises:
        ConfigError: the user asked for does not exist or is root.
        StoreError: no user fits, or foveal's own has no name (initdb and peer authentication need one).
    """
    if os.geteuid() != 0:
        try:
            entry = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise StoreError(
                f"user id {os.geteuid()} has no name in this system, and PostgreSQL needs one;"
                " add the user to /etc/passwd, or use --store postgresql://…"
            ) from None
        return RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid, switched=False)
    if wanted:
        try:
            return _switched(pwd.getpwnam(wanted))
        except KeyError:
            raise ConfigError(f"there is no user {wanted!r} for PostgreSQL to run as; create it, or leave run_as out") from None
    for owned in (folder / "pgdata", folder):
        if owned.exists() and owned.stat().st_uid != 0:
            try:
                return _switched(pwd.getpwuid(owned.stat().st_uid))
            except KeyError:
                continue
    for name in _CANDIDATES:
        try:
            return _switched(pwd.getpwnam(name))
        except KeyError:
            continue
    raise StoreError(
        "foveal runs as root, PostgreSQL refuses to, and none of the users "
        + ", ".join(_CANDIDATES)
        + " exists; create one (useradd --system foveal), or start foveal as an ordinary user"
    )


def _switched(entry: pwd.struct_passwd) -> RunAs:
    if entry.pw_uid == 0:
        raise ConfigError("PostgreSQL refuses to run as root; name an unprivileged user in run_as")
    return RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid, switched=True)


def check_reach(path: Path, user: RunAs, *, what: str) -> None:
    """Check that the user may enter every folder that leads to `path`.

    Raises:
        StoreError: naming the first folder that is closed to it. Its permissions are never changed.
    """
    if not user.switched:
        return
    path = path.resolve()
    for folder in [*reversed(path.parents), path]:
        if folder.is_dir() and not _may_enter(folder, user):
            mode = stat.filemode(folder.stat().st_mode)
            raise StoreError(
                f"{what} {path} is out of reach: foveal runs as root, so PostgreSQL runs as user {user.name!r}, which may not"
                f" enter {folder} ({mode}); choose a folder such as /var/lib/foveal, or start foveal as an ordinary user"
            )


def _may_enter(folder: Path, user: RunAs) -> bool:
    info = folder.stat()
    if info.st_uid == user.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == user.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)
