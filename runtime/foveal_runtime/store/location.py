"""Where a store is: a folder or a `postgresql://` URL, checked and made safe to print. Connects to nothing."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from foveal_runtime.errors import ConfigError

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


def conninfo_of(url: str, *, connect_timeout_s: float) -> str:
    """libpq's parameters for a URL, with TLS and timeouts where the URL says nothing of them.

    A server that is not on this machine must prove who it is (`sslmode=verify-full`): libpq's own default falls back to plain
    text without a word. A URL may ask for less by its own `sslmode`.

    Raises:
        ConfigError: PostgreSQL can't read the URL. The URL is never part of the message: it may hold a password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    unreadable = ConfigError(
        "the store's postgresql:// URL can't be read; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special"
        " characters of the password percent-encoded"
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
    hosts = str(parts.get("host") or parts.get("hostaddr") or "").split(",")
    if "sslmode" not in parts and not all(host in _LOCAL or host.startswith(("/", "@")) for host in hosts):
        parts["sslmode"] = "verify-full"
        parts.setdefault("sslrootcert", "system")
    parts.setdefault("connect_timeout", max(2, round(connect_timeout_s)))
    parts.setdefault("application_name", "foveal")
    parts.setdefault("keepalives_idle", 30)
    parts.setdefault("tcp_user_timeout", 20_000)
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
