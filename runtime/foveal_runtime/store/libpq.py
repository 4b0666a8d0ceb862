"""libpq's environment, kept away from the embedded PostgreSQL: a service, a host or options meant for another server.

Knows no connection. Of a `postgresql://` URL libpq's variables may say the rest, as everywhere.
"""

from __future__ import annotations

import logging
import os

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
