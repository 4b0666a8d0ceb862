"""Findings about a server's certificate and tokens, for `foveal doctor`. Starts no server."""

from __future__ import annotations

import datetime
from pathlib import Path

from foveal_runtime.access.tokenfile import read_tokens
from foveal_runtime.engine.finding import Finding, Status, refused
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.certificates import out_of_date, read_server_files

SOON_DAYS = 30
"""Before a certificate or a token expires, in which it is warned of."""


def access_findings(
    tls_cert: Path | None, tls_key: Path | None, tokens: Path | None, *, now: datetime.datetime | None = None
) -> list[Finding]:
    """What is known of the files that a server would be given.

    Args:
        tls_cert: PEM certificate chain; None looks at none.
        tls_key: its key.
        tokens: file of tokens; None looks at none.
        now: the time; None asks the clock.

    Raises:
        ConfigError: a certificate without a key, or the other way round.
    """
    at = datetime.datetime.now(datetime.UTC) if now is None else now
    if (tls_cert is None) != (tls_key is None):
        raise ConfigError("a certificate and its key belong together; give both --tls-cert and --tls-key")
    found = []
    if tls_cert is not None and tls_key is not None:
        found.append(_certificate(tls_cert, tls_key, at))
    if tokens is not None:
        found.append(_tokens(tokens, at))
    return found


def _certificate(cert: Path, key: Path, now: datetime.datetime) -> Finding:
    name = "certificate"
    try:
        files = read_server_files(cert, key, None)
    except ConfigError as error:
        return refused(name, error)
    mend = "renew it; a running server reads the new files by itself"
    if wrong := out_of_date(files.chain, now):
        return Finding(name=name, status=Status.WRONG, says=f"{cert} {wrong}", mend=f"{mend}, or set this machine's clock")
    says = f"{cert} is good for {files.days_left(now):.0f} days, until {files.ends:%Y-%m-%d}"
    if files.days_left(now) < SOON_DAYS:
        return Finding(name=name, status=Status.WARNING, says=says, mend=mend)
    return Finding(name=name, status=Status.OK, says=says)


def _tokens(path: Path, now: datetime.datetime) -> Finding:
    name = "tokens"
    try:
        rows = read_tokens(path).rows
    except ConfigError as error:
        return refused(name, error)
    over = sorted(row.name for row in rows if now >= row.expires)
    soon = sorted(row.name for row in rows if now < row.expires <= now + datetime.timedelta(days=SOON_DAYS))
    if not rows or len(over) == len(rows):
        says = f"{path} lets nobody in: {len(rows)} rows, all expired" if rows else f"{path} lets nobody in: it has no row"
        return Finding(name=name, status=Status.WRONG, says=says, mend=f"foveal token add NAME --role … --file {path}")
    says = f"{len(rows) - len(over)} of {len(rows)} are valid"
    if over or soon:
        says += f"; expired: {_few(over)}; within {SOON_DAYS} days: {_few(soon)}"
        mend = f"foveal token change NAME --expires … --file {path}, or revoke what is not needed"
        return Finding(name=name, status=Status.WARNING, says=says, mend=mend)
    return Finding(name=name, status=Status.OK, says=says)


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
