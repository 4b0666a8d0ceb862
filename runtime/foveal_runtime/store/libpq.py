"""libpq's environment and services: kept away from the embedded PostgreSQL, heeded where a `postgresql://` URL is given.

Knows no connection.
"""

from __future__ import annotations

import configparser
import logging
import os
from pathlib import Path

_log = logging.getLogger(__name__)


def forget_environment() -> None:
    """Take libpq's variables out of this process's environment: an embedded server is found by its folder alone.

    PGHOSTADDR would send its superuser's connection to another host, and nothing that a connection says overrides PGSERVICE,
    PGTZ, PGDATESTYLE and PGGEQO. By their first letters: libpq gets more with its releases.
    """
    names = sorted(name for name in os.environ if name.startswith("PG"))
    for name in names:
        del os.environ[name]
    if names:
        _log.info("the embedded PostgreSQL goes by its folder: %s of the environment left out", ", ".join(names))


def variables() -> dict[str, str]:
    """libpq's variables of this process's environment, which its programs need as a connection does: PGPASSFILE, PGPASSWORD and
    the like."""
    return {name: value for name, value in os.environ.items() if name.startswith("PG")}


def service_settings(name: str) -> dict[str, str] | None:
    """What libpq's file of services and its variables say where a URL says nothing; the password is not among it.

    Args:
        name: of the service that the URL names; empty is PGSERVICE's.

    Returns:
        Settings by libpq's names of parameters; None where a service is named and none of the files known here has it.
    """
    named = name or os.environ.get("PGSERVICE", "")
    found = {
        key: os.environ[variable]
        for key, variable in (
            ("host", "PGHOST"),
            ("hostaddr", "PGHOSTADDR"),
            ("sslmode", "PGSSLMODE"),
            ("sslrootcert", "PGSSLROOTCERT"),
            ("connect_timeout", "PGCONNECT_TIMEOUT"),
            ("application_name", "PGAPPNAME"),
        )
        if variable in os.environ
    }
    own = Path(os.environ.get("PGSERVICEFILE") or Path("~/.pg_service.conf").expanduser())
    for path in (own, Path(os.environ.get("PGSYSCONFDIR", "/etc/postgresql-common")) / "pg_service.conf"):
        file = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
        try:
            file.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # libpq itself says what is wrong with it
        if named and file.has_section(named):
            settings = {key: value for key, value in file.items(named) if key != "password"}
            return {**found, **settings}
    return None if named else found
