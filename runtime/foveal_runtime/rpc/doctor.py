"""Findings about what a server's configuration names: certificates, keys, store. Starts no server, changes nothing."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.bundle.signing import read_public_key
from foveal_runtime.engine.finding import Finding, Status, refused
from foveal_runtime.engine.machine import disk
from foveal_runtime.errors import FovealError, StoreError
from foveal_runtime.photo.site import read_site
from foveal_runtime.rpc.certificates import out_of_date, read_server_files
from foveal_runtime.rpc.findings import SOON_DAYS, access_findings
from foveal_runtime.serving.address import is_loopback
from foveal_runtime.store.location import conninfo_of, folder_of, is_url, printable, read_password
from foveal_runtime.store.patients import read_key
from foveal_runtime.store.position import WHERE_SQL, Position
from foveal_runtime.store.references import key_file

if TYPE_CHECKING:
    from foveal_runtime.rpc.certificates import ServerFiles
    from foveal_runtime.serving.config import ServeConfig

_CONNECT_S = 5.0
_HTTP_LIBRARIES = ("python_multipart", "starlette", "uvicorn")


def server_findings(config: ServeConfig, *, now: datetime.datetime | None = None) -> list[Finding]:
    """What a server of this configuration would meet.

    Args:
        config: whose files are read and whose archive is asked, and nothing else.
        now: None is this moment.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    parts: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _address(config, "address", config.address),
        lambda: _http(config),
        lambda: _certificates(config, moment),
        lambda: _keys(config),
        lambda: iter(access_findings(None, None, config.tokens, now=moment)),
        lambda: _store(config),
    )
    return [finding for part in parts for finding in part()]


def _address(config: ServeConfig, name: str, address: str) -> Iterator[Finding]:
    where = "this machine alone" if is_loopback(address) else "other machines"
    if config.tls_cert is not None:
        how = "TLS, callers show certificates" if config.client_ca is not None else "TLS"
    else:
        how = "plain text"
    if where == "other machines" and config.tls_cert is None:
        yield Finding(
            name=name,
            status=Status.WARNING,
            says=f"{address} serves other machines in plain text, as --insecure allows",
            mend="--tls-cert and --tls-key, unless a proxy on the same host encrypts",
        )
        return
    yield Finding(name=name, status=Status.OK, says=f"{address} serves {where}, {how}")


def _http(config: ServeConfig) -> Iterator[Finding]:
    if not config.http:
        return
    missing = [name for name in _HTTP_LIBRARIES if find_spec(name) is None]
    if missing:
        says = f"--http needs {', '.join(missing)}, which are not installed"
        yield Finding(name="http", status=Status.WRONG, says=says, mend="pip install 'foveal[http]'")
        return
    yield from _address(config, "http", config.http)


def _certificates(config: ServeConfig, now: datetime.datetime) -> Iterator[Finding]:
    if config.tls_cert is None or config.tls_key is None:
        return
    try:
        files = read_server_files(config.tls_cert, config.tls_key, config.client_ca)
    except FovealError as error:
        yield refused("certificate", error)
        return
    yield _dates(config.tls_cert, files, now)


def _dates(path: Path, files: ServerFiles, now: datetime.datetime) -> Finding:
    if wrong := out_of_date(files.chain, now):
        return Finding(
            name="certificate",
            status=Status.WRONG,
            says=f"--tls-cert {path} {wrong}: no client will trust it",
            mend="renew it, or set this machine's clock",
        )
    days = files.days_left(now)
    says = f"--tls-cert {path} is valid for {int(days)} days more"
    if days < SOON_DAYS:
        return Finding(name="certificate", status=Status.WARNING, says=says, mend="renew it")
    return Finding(name="certificate", status=Status.OK, says=says)


def _keys(config: ServeConfig) -> Iterator[Finding]:
    readers: tuple[tuple[str, Path | None, Callable[[Path], object]], ...] = (
        ("signature", config.require_signature, read_public_key),
        ("patient key", _patient_key(config), _check_key),
        ("threshold", config.quality, read_site),
    )
    for name, path, read in readers:
        if path is None:
            continue
        try:
            read(path)
        except FovealError as error:
            yield refused(name, error)
        else:
            yield Finding(
                name=name,
                status=Status.OK,
                says=f"{path} can be read and is one" if path.exists() else f"{path} is made at the first start",
            )


def _patient_key(config: ServeConfig) -> Path | None:
    """Where the key of patient references is looked for; None where nobody named a place and none is there yet."""
    path = key_file(config.store, config.hash_patients) if config.store or config.hash_patients is not None else None
    return path if path is not None and (path.exists() or config.hash_patients is not None) else None


def _check_key(path: Path) -> None:
    """Read a key; one that is missing is made by the first start, where this user may.

    Raises:
        ConfigError: it can't be read, or made.
    """
    if path.exists() or not os.access(path.parent, os.W_OK):
        read_key(path)


def _store(config: ServeConfig) -> Iterator[Finding]:
    if not config.store:
        return
    try:
        if is_url(config.store):
            yield from _servers(config)
        else:
            yield from _folder(folder_of(config.store), config.archive.run_as)
    except FovealError as error:
        yield refused("store", error)


def _folder(folder: Path, run_as: str) -> Iterator[Finding]:
    """Of the embedded PostgreSQL.

    Raises:
        FovealError: it could not run there.
    """
    from foveal_runtime.store.cluster import Binaries, check_version
    from foveal_runtime.store.datafolder import DataFolder
    from foveal_runtime.store.runas import check_reach, choose

    Binaries.find()
    user = choose(folder, run_as)
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    check_reach(there, user, what="store folder")
    data = DataFolder(folder)
    check_version(data)
    state = "served now" if data.lock_is_held() else "there" if data.pgdata.exists() else "new"
    yield Finding(name="store", status=Status.OK, says=f"{folder} is {state}, PostgreSQL runs as {user.name}")
    yield disk("store", folder)


def _servers(config: ServeConfig) -> Iterator[Finding]:
    """Of a database server and its standbys.

    Raises:
        FovealError: it can't be reached.
    """
    password = None if config.store_password_file is None else read_password(config.store_password_file)
    version, owner = _asked(config.store, password)
    yield Finding(name="store", status=Status.OK, says=f"{printable(config.store)} answers, PostgreSQL {version // 10000}")
    for number, url in enumerate(config.store_replicas, 1):
        name = f"store replica {number}"
        try:
            _, standby = _asked(url, password)
        except FovealError as error:
            # The owner answers what it would have: no reason not to start.
            mend = "mend it, or leave it out: the owner answers until then"
            yield Finding(name=name, status=Status.WARNING, says=str(error), mend=mend)
            continue
        if not standby.standby or not standby.same_data(owner):
            says = f"{printable(url)} is no streaming standby of the store's database, and would answer nothing"
            mend = "name a standby that pg_basebackup made of it, and the same database"
            yield Finding(name=name, status=Status.WRONG, says=says, mend=mend)
        else:
            behind = max(0, owner.log_bytes - standby.log_bytes)
            yield Finding(name=name, status=Status.OK, says=f"{printable(url)} answers, {behind} bytes of the log behind")


def _asked(url: str, password: str | None) -> tuple[int, Position]:
    """A server's version, and where it is in its log.

    Raises:
        FovealError: it can't be reached.
    """
    try:
        import psycopg
    except ImportError:
        raise StoreError("the client of PostgreSQL is not installed; pip install 'foveal[store]'") from None
    try:
        with psycopg.connect(conninfo_of(url, connect_timeout_s=_CONNECT_S, password=password)) as connection:
            row = connection.execute(WHERE_SQL).fetchone()
            assert row is not None
            return connection.info.server_version, Position(*row)
    except psycopg.Error as error:
        # Without its text, which may quote the URL.
        raise StoreError(
            f"{printable(url)} can't be reached ({type(error).__name__}); check host, port, user and password with psql"
        ) from None
