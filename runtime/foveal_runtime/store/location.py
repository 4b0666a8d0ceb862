"""Where a store is: a folder or a `postgresql://` URL, checked and made safe to print. Connects to nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from foveal_runtime.access.private import read_word
from foveal_runtime.errors import ConfigError
from foveal_runtime.store.libpq import service_settings

_SCHEMES = ("postgresql://", "postgres://")
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


def is_url(location: str | Path) -> bool:
    """Whether the location names a server, not a folder."""
    return isinstance(location, str) and location.lower().startswith(_SCHEMES)


def folder_of(location: str | Path) -> Path:
    """The folder a location names.

    Raises:
        ConfigError: empty, or a URL of another kind.
    """
    text = str(location)
    if not text.strip():
        raise ConfigError("the store location is empty; name a folder or a postgresql:// URL")
    if isinstance(location, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ConfigError(f"the store location is a {text.split(':', 1)[0]} URL; name a folder or a postgresql:// URL")
    return Path(text)


def read_password(path: Path) -> str:
    """The password in a file.

    Raises:
        ConfigError: it can't be read, others can, or it is not one line.
    """
    return read_word(path, "password file")


def refuse_password(location: str) -> None:
    """Refuse a URL from the command line that holds a password.

    Raises:
        ConfigError: every user of the machine would read it in the list of processes, and the shell's history keeps it.
    """
    if not is_url(location):
        return
    before, _, parameters = location.partition("://")[2].partition("?")
    names = {name for name, _ in parse_qsl(parameters, keep_blank_values=True)}
    if ":" in before.rpartition("@")[0] or not names.isdisjoint(("password", "sslpassword")):
        raise ConfigError(
            "the store's URL holds a password, and other users of this machine can read a command's arguments; leave it out of "
            "the URL, and give --store-password-file FILE, PGPASSFILE, or a service (postgresql:///?service=NAME)"
        )


def conninfo_of(url: str, *, connect_timeout_s: float, password: str | None = None) -> str:
    """libpq's parameters for a URL, with TLS and timeouts where neither the URL nor the service that it names says of them.

    A server that is not on this machine must prove who it is (`sslmode=verify-full`): libpq's own default falls back to plain
    text without a word. A URL may ask for less by its own `sslmode`, and so may a service.

    Args:
        url: of the database.
        connect_timeout_s: where nothing says how long.
        password: in place of the URL's.

    Raises:
        ConfigError: PostgreSQL can't read the URL. The URL is never part of the message: it may hold a password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    unreadable = ConfigError(
        "the store's postgresql:// URL can't be read; write postgresql://USER@HOST:PORT/DATABASE, with special characters"
        " percent-encoded, and give the password by --store-password-file"
    )
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        # Not chained: libpq quotes the part it could not read, which may be the password.
        raise unreadable from None
    ports = str(parts.get("port") or "5432").split(",")
    if _misplaced_at(url) or not all(port.isdigit() for port in ports if port):
        # A raw "@", "/" or ":" in the password makes the rest of it a host, a port or a database, and those get printed.
        raise unreadable
    settings = service_settings(str(parts.get("service") or ""))
    # Of a service that foveal can't find and libpq may, nothing says that its host is this machine.
    said = {**({"host": "unknown"} if settings is None else settings), **parts}
    hosts = str(said.get("host") or said.get("hostaddr") or "").split(",")
    if "sslmode" not in said and not all(host in _LOCAL or host.startswith(("/", "@")) for host in hosts):
        parts["sslmode"] = "verify-full"
        if "sslrootcert" not in said:
            parts["sslrootcert"] = "system"
    defaults: dict[str, int | str] = {
        "connect_timeout": max(2, round(connect_timeout_s)),
        "application_name": "foveal",
        "keepalives_idle": 30,
        "tcp_user_timeout": 20_000,
    }
    parts.update({name: value for name, value in defaults.items() if name not in said})
    if password is not None:
        parts["password"] = password
    return make_conninfo("", **parts)


def _misplaced_at(url: str) -> bool:
    """Whether an `@` stands anywhere but once, before the host: the sign of a password that was not percent-encoded."""
    authority, _, rest = url.split("://", 1)[1].partition("/")
    return authority.partition("?")[0].count("@") > 1 or "@" in rest.partition("?")[0]


def printable(location: str | Path) -> str:
    """The location without user, password and parameters."""
    if not is_url(location):
        return str(location)
    if _misplaced_at(str(location)):
        return "postgresql://…"
    try:
        parts = urlsplit(str(location))
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return "postgresql://…"
    return f"postgresql://{host}{port}{parts.path}"
