"""`foveal token …`: make, list, change and revoke the tokens of a server's callers. The file is `access.tokenfile`'s."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from foveal_runtime.access.roles import Role
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from foveal_runtime.access.tokens import Row, Tokens

app = App(
    name="token",
    help="Make and revoke the tokens of a server's callers.",
    help_epilogue="A server with `--tokens FILE` goes by the changed file within a second, without a restart.",
)
_MOST_DAYS = 3650
File = Annotated[Path, Parameter(name="--file")]
Roles = Annotated[list[Role], Parameter(name="--role", negative=())]
Expires = Annotated[str, Parameter(name="--expires")]


@app.command
def add(name: str, /, *, role: Roles, expires: Expires, file: File, certificate: str | None = None, json: Json = False) -> None:
    """Make a token, and print it: this once, since the file keeps a salted hash alone.

    With --certificate no token is made: the clients that show such a certificate have the roles (`foveal serve --client-ca`).

    For example:
        (umask 077; foveal token add camera-1 --role grade --expires 365 --file tokens.json > camera-1.token)
        foveal token add reading-room --role search --role write --expires 2027-01-31 --file tokens.json
        foveal token add camera-2 --role grade --expires 365 --certificate CN=camera-2 --file tokens.json

    Args:
        name: of the caller, which stands in the log lines of its calls; no patient's.
        role: grade, search, write or admin; give it several times for several. None includes another (docs/operations.md).
        expires: last day (UTC), as 2027-01-31, or a number of days from now.
        file: of the tokens; made when it is new, for you alone.
        certificate: CN=NAME or SAN=NAME of the certificate that the caller shows.
        json: print one JSON document: the token, and its row.
    """
    from foveal_runtime.access.tokenfile import change_tokens
    from foveal_runtime.access.tokens import Row, Tokens, new_token

    token, kept = (None, None) if certificate is not None else new_token()
    row = Row(name=name, roles=frozenset(role), expires=_end(expires), token=kept, certificate=certificate or "")

    def added(tokens: Tokens) -> Tokens:
        if any(each.name == name for each in tokens.rows):
            raise ConfigError(f"{name} is there; revoke it first, choose another name, or `foveal token change {name}`")
        return Tokens((*tokens.rows, row))

    change_tokens(file, added, make=True)
    if json:
        print_json({"token": token, **_document(row)})
    elif token is not None:
        sys.stdout.write(f"{token}\n")
    sys.stderr.write(f"{_line(row)}{'' if token is None else '; the token is shown this once'}\n")


@app.command
def change(name: str, /, *, file: File, role: Roles | None = None, expires: Expires | None = None, json: Json = False) -> None:
    """Give a caller other roles, or another day to expire; its token stays the same.

    For example:
        foveal token change reading-room --role search --file tokens.json

    Args:
        name: of the caller.
        file: of the tokens.
        role: all roles that it shall have; without it they stay.
        expires: last day (UTC), as 2027-01-31, or a number of days from now; without it that stays.
        json: print one JSON document: the row.
    """
    from foveal_runtime.access.tokenfile import change_tokens
    from foveal_runtime.access.tokens import Tokens

    if role is None and expires is None:
        raise ConfigError("nothing to change; give --role or --expires")

    def changed(tokens: Tokens) -> Tokens:
        row = _named(tokens, name)
        other = replace(
            row,
            roles=row.roles if role is None else frozenset(role),
            expires=row.expires if expires is None else _end(expires),
        )
        return Tokens(other if each is row else each for each in tokens.rows)

    row = _named(change_tokens(file, changed), name)
    if json:
        print_json(_document(row))
    sys.stderr.write(f"{_line(row)}\n")


@app.command
def revoke(name: str, /, *, file: File, json: Json = False) -> None:
    """Take a caller out of the file: its next call is refused, and so is the next message of a stream.

    For example:
        foveal token revoke camera-1 --file tokens.json

    Args:
        name: of the caller.
        file: of the tokens.
        json: print one JSON document: the name.
    """
    from foveal_runtime.access.tokenfile import change_tokens
    from foveal_runtime.access.tokens import Tokens

    def revoked(tokens: Tokens) -> Tokens:
        row = _named(tokens, name)
        return Tokens(each for each in tokens.rows if each is not row)

    change_tokens(file, revoked)
    if json:
        print_json({"revoked": name})
    sys.stderr.write(f"{name} is revoked\n")


@app.command(name="list")
def list_(*, file: File, json: Json = False) -> None:
    """List the callers of a file: roles, last day, and what they show. Tells no token.

    For example:
        foveal token list --file tokens.json

    Args:
        file: of the tokens.
        json: print one JSON document.
    """
    from foveal_runtime.access.tokenfile import read_tokens

    rows = read_tokens(file).rows
    if json:
        print_json({"tokens": [_document(row) for row in rows]})
    else:
        sys.stdout.write("".join(f"{_line(row)}\n" for row in rows))


def _named(tokens: Tokens, name: str) -> Row:
    row = next((row for row in tokens.rows if row.name == name), None)
    if row is None:
        raise NotFoundError("no caller of that name is in the file; `foveal token list` has them")
    return row


def _end(text: str) -> datetime.datetime:
    """When a token of `--expires` ends: at the end of a day, or after so many."""
    now = datetime.datetime.now(datetime.UTC)
    mend = f"give the last day as 2027-01-31, or 1 to {_MOST_DAYS} days"
    try:
        days = datetime.timedelta(days=min(int(text), _MOST_DAYS + 1)) if text.isdecimal() else None
        end = (
            now + days
            if days is not None
            else datetime.datetime.fromisoformat(f"{datetime.date.fromisoformat(text)}T00:00:00Z") + datetime.timedelta(days=1)
        )
    except ValueError:
        raise ConfigError(f"--expires is {text!r}; {mend}") from None
    if not now < end <= now + datetime.timedelta(days=_MOST_DAYS):
        raise ConfigError(f"--expires {text} is {'over' if end <= now else 'too far off'}; {mend}")
    return end.replace(microsecond=0)


def _document(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "roles": [role.value for role in Role if role in row.roles],
        "expires": f"{row.expires:%Y-%m-%dT%H:%M:%SZ}",
        "certificate": row.certificate or None,
        "expired": datetime.datetime.now(datetime.UTC) >= row.expires,
    }


def _line(row: Row) -> str:
    kind = f"certificate {row.certificate}" if row.certificate else "token"
    over = " (expired)" if datetime.datetime.now(datetime.UTC) >= row.expires else ""
    roles = ", ".join(role for role in Role if role in row.roles)
    return f"{row.name}: {roles} until {row.expires:%Y-%m-%d %H:%M} UTC{over}, {kind}"
