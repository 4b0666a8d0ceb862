"""PostgreSQL's own programs, run as children: `pg_dump` on a database, `pg_restore` as a reader of files. Never a shell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import IO

from foveal_runtime.errors import ConfigError, StoreError
from foveal_runtime.store.cluster import Binaries
from foveal_runtime.store.libpq import variables

_CHUNK_BYTES = 1 << 18


async def run_program(conninfo: str, command: list[str], *, at: str) -> None:
    """Run a program against a database, which finds it as foveal does: by all of its parameters, and by libpq's variables.

    The password travels in the environment, not in `ps`.

    Args:
        conninfo: of the database, as the schema's owner.
        command: the program's name and arguments.
        at: the database in words, without its password.

    Raises:
        ConfigError: a parameter can't be handed over.
        StoreError: it failed.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parameters = conninfo_to_dict(conninfo)
    password = parameters.pop("password", None)
    if parameters.pop("sslpassword", None):
        raise ConfigError(f"{command[0]} can't be given sslpassword safely; use a client key without a passphrase for {at}")
    environment = {**_program_environment(), **variables(), **({"PGPASSWORD": str(password)} if password else {})}
    process = await asyncio.create_subprocess_exec(
        Binaries.find().path(command[0]),
        *command[1:],
        f"--dbname={make_conninfo('', **parameters)}",
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
        raise StoreError(f"{command[0]} failed on {at}: {_first_error(errors.decode(errors='replace'))}")


def _first_error(text: str) -> str:
    """PostgreSQL's own words, fit for a terminal; a damaged dump's line may be quoted after CONTEXT, which is left out."""
    lines = [line.strip() for line in text.splitlines() if "error:" in line.lower()]
    return "".join(letter if letter.isprintable() else "?" for letter in (lines or ["no reason given"])[0][:300])


async def unpacked(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    """The text of a file in custom format, rows alone, by pg_restore, which is given no database.

    Raises:
        StoreError: it can't be read to its end.
    """
    process = await asyncio.create_subprocess_exec(
        Binaries.find().path("pg_restore"),
        "--data-only",
        "--file=-",
        env=_program_environment(),
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.ensure_future(_beginning(process.stderr))
    try:
        while text := await process.stdout.read(_CHUNK_BYTES):
            yield text
        if await process.wait() != 0:
            raise StoreError(f"the dump is damaged, or not foveal's; pg_restore says: {_first_error(await errors)}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await errors


async def _beginning(stream: asyncio.StreamReader) -> str:
    """The first 64 KiB of a program's complaints; more is read and dropped."""
    kept = b""
    while text := await stream.read(_CHUNK_BYTES):
        kept = (kept + text)[: 1 << 16]
    return kept.decode(errors="replace")


def _program_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
