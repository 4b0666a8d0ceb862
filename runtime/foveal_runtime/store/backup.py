"""Dump a store to a plain SQL file and restore it, by PostgreSQL's own `pg_dump` and `psql`. Schema and data are theirs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError, PreconditionError, StoreError
from foveal_runtime.store import schema
from foveal_runtime.store.cluster import Binaries

if TYPE_CHECKING:
    from foveal_runtime.store.database import Database

_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "options": "PGOPTIONS",
}


async def dump(database: Database, target: Path) -> int:
    """Write every collection to a plain SQL file, as of one moment, while serving goes on. Returns its bytes.

    Raises:
        ConfigError: the file exists, or its folder does not.
        StoreError: pg_dump failed.
    """
    if target.exists():
        raise ConfigError(f"{target} exists; name a new file")
    if not target.parent.is_dir():
        raise ConfigError(f"folder {target.parent} does not exist; make it first")
    partial = target.with_name(target.name + ".partial")
    # Patient references and sources are in it: for its owner alone.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        await _run(
            database,
            ["pg_dump", "--format=plain", "--schema=foveal", "--no-owner", "--no-privileges", f"--file={partial}"],
        )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


async def restore(database: Database, source: Path) -> None:
    """Fill an empty store from a dump, all or nothing, then bring its schema up to date.

    Raises:
        ConfigError: the file can't be read.
        PreconditionError: the store is not empty.
        StoreError: the dump is damaged, or of a newer foveal.
    """
    if not source.is_file():
        raise ConfigError(f"dump {source} does not exist; name a file that `foveal store dump` wrote")
    if not os.access(source, os.R_OK):
        raise ConfigError(f"dump {source} can't be read; fix its permissions")
    found = await database.as_owner(schema.all_collections)
    if found:
        raise PreconditionError(
            f"the store at {database.place} already has {len(found)} collections; restore into a new folder or database"
        )
    await _run(
        database,
        [
            "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
            "--command=DROP SCHEMA IF EXISTS foveal CASCADE", f"--file={source}",
        ],
    )  # fmt: skip
    await database.bring_up_to_date()


async def _run(database: Database, command: list[str]) -> None:
    """Run one of PostgreSQL's programs against the database; the password travels in the environment, not in `ps`."""
    from psycopg.conninfo import conninfo_to_dict

    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    for name, value in conninfo_to_dict(database.owner_conninfo).items():
        if name in _ENVIRONMENT and value is not None:
            environment[_ENVIRONMENT[name]] = str(value)
    process = await asyncio.create_subprocess_exec(
        Binaries.find().path(command[0]),
        *command[1:],
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise StoreError(f"{command[0]} failed on {database.place}: {_first_error(errors.decode(errors='replace'))}")


def _first_error(text: str) -> str:
    """PostgreSQL's own words; a damaged dump's line may be quoted after CONTEXT, which is left out."""
    lines = [line.strip() for line in text.splitlines() if "error:" in line.lower()]
    return (lines or ["no reason given"])[0][:300]
