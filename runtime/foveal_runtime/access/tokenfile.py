"""The file of tokens: read strictly, and written whole. Holds salted hashes; a token itself is never in it.

JSON with `format` and `tokens`, each row as `Row` has it. It is for its owner alone, and replaced by renaming, so that a reader
finds the old file or the new one.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from foveal_runtime.access.private import read_private
from foveal_runtime.access.roles import Role
from foveal_runtime.access.tokens import Row, TokenHash, Tokens
from foveal_runtime.durable import sync_folder
from foveal_runtime.errors import ConfigError

WHAT = "file of tokens"
_Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Hash(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: _Hex16
    salt: _Hex32
    hmac_sha256: _Hex64


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    roles: list[Role]
    expires: AwareDatetime
    token: _Hash | None = None
    certificate: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    tokens: list[_Row]


def read_tokens(path: Path) -> Tokens:
    """The rows of a file.

    Raises:
        ConfigError: it can't be read, others can, or it is not what `foveal token` writes.
    """
    data = read_private(path, WHAT)
    try:
        file = _File.model_validate_json(data)
        return Tokens(_row(each) for each in file.tokens)
    except ValidationError as error:
        # Not pydantic's own text, which quotes the file.
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"{WHAT} {path} can't be used ({where}: {first['msg']}); mend it, or make it by `foveal token`"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{WHAT} {path} can't be used: {error}") from None


def change_tokens(path: Path, change: Callable[[Tokens], Tokens], *, make: bool = False) -> Tokens:
    """Replace the file by a changed one; two that change it at once wait for each other.

    Args:
        path: of the file.
        change: from the rows there are to those that shall be.
        make: begin a file where there is none.

    Raises:
        ConfigError: the file can't be read or written, or the change is refused.
    """
    path = path.resolve()  # a link stays one
    try:
        with _Locked(path.parent):
            is_new = make and not path.exists()
            changed = change(Tokens(()) if is_new else read_tokens(path))
            _write(path, changed)
    except OSError as error:
        raise ConfigError(f"{WHAT} {path} can't be written ({error.strerror}); check the folder and its permissions") from None
    return changed


class _Locked:
    """Holds a folder's lock: one that changes the file at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._held = os.open(self._folder, os.O_RDONLY)
        if os.name == "posix":
            import fcntl

            fcntl.flock(self._held, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        os.close(self._held)


def _write(path: Path, tokens: Tokens) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    file = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        with file:
            if path.exists() and os.name == "posix":
                # The service's user goes on reading what an administrator changed.
                before = path.stat()
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o777)
            file.write(_document(tokens))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def _document(tokens: Tokens) -> bytes:
    rows = [_plain(row) for row in sorted(tokens.rows, key=lambda row: row.name)]
    return json.dumps({"format": 1, "tokens": rows}, indent=2).encode() + b"\n"


def _plain(row: Row) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "name": row.name,
        "roles": [role.value for role in Role if role in row.roles],
        "expires": f"{row.expires.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    if row.token is None:
        return {**kept, "certificate": row.certificate}
    return {
        **kept,
        "token": {"id": row.token.id, "salt": row.token.salt.hex(), "hmac_sha256": row.token.digest.hex()},
    }


def _row(read: _Row) -> Row:
    kept = read.token
    return Row(
        name=read.name,
        roles=frozenset(read.roles),
        expires=read.expires.astimezone(datetime.UTC),
        certificate=read.certificate,
        token=None
        if kept is None
        else TokenHash(id=kept.id, salt=bytes.fromhex(kept.salt), digest=bytes.fromhex(kept.hmac_sha256)),
    )
