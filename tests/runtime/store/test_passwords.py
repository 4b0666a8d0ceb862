"""A PostgreSQL's password comes from a file, libpq's own places or a service, and is never among a command's arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from commands import foveal, one_line
from servers import reachable_folder

from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.address import free_port
from foveal_runtime.store.cluster import Binaries
from foveal_runtime.store.location import conninfo_of, refuse_password
from foveal_runtime.store.postgres import ROOT_ROLE
from foveal_runtime.store.programs import run_program

from .test_remote import SECRET, TcpPostgres


@pytest.fixture(scope="module")
def region() -> Iterator[TcpPostgres]:
    """A PostgreSQL with a password, whose database has foveal's schema."""
    with reachable_folder() as folder:
        server = TcpPostgres(folder / "store")
        server.port = free_port()
        server.start()
        with psycopg.connect(server.conninfo(ROOT_ROLE), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE region_owner LOGIN PASSWORD '{SECRET}'")
            connection.execute("CREATE DATABASE region OWNER region_owner")
        with psycopg.connect(server.conninfo(ROOT_ROLE, "region"), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield server
        server.stop()


@pytest.fixture
def url(region: TcpPostgres) -> str:
    return f"postgresql://region_owner@127.0.0.1:{region.port}/region"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    return private(tmp_path / "password", SECRET + "\n")


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def escaped(text: str) -> str:
    """A field of libpq's password file."""
    return text.replace("\\", "\\\\").replace(":", "\\:")


def test_a_password_of_a_file_reaches_the_server_and_pg_dump(url: str, password: Path, tmp_path: Path) -> None:
    flags = ("--store-password-file", str(password))
    assert foveal("store", "init", url, *flags).returncode == 0
    target = tmp_path / "region.dump"
    done = foveal("store", "dump", url, str(target), *flags)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().startswith(b"PGDMP")


def test_pg_dump_finds_the_password_where_the_connection_does(
    region: TcpPostgres, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"127.0.0.1:{region.port}:region:region_owner:{escaped(SECRET)}\n"
    passfile = private(tmp_path / "pgpass", line)
    service = tmp_path / "services"
    service.write_text(f"[region]\nhost=127.0.0.1\nport={region.port}\nuser=region_owner\ndbname=region\npassfile={passfile}\n")
    ways = {
        "PGPASSFILE": (url, {"PGPASSFILE": str(passfile)}),
        "PGPASSWORD": (url, {"PGPASSWORD": SECRET}),
        "service": ("postgresql:///?service=region", {"PGSERVICEFILE": str(service)}),
        "PGSERVICE": ("postgresql://", {"PGSERVICEFILE": str(service), "PGSERVICE": "region"}),
        "passfile": (f"{url}?passfile={passfile}", {}),
    }
    for name, (location, variables) in ways.items():
        with monkeypatch.context() as patched:
            for variable, value in variables.items():
                patched.setenv(variable, value)
            done = foveal("store", "dump", location, str(tmp_path / f"{name}.dump"))
        assert done.returncode == 0, (name, done.stderr)
    refused = foveal("store", "dump", url, str(tmp_path / "none.dump"))
    assert refused.returncode == 1
    assert "can't be reached" in one_line(refused.stderr)


@pytest.mark.parametrize(
    "location",
    [
        "postgresql://u:s3cret@db.example.org/foveal",
        "postgres://u:s3cret@db.example.org/foveal",
        "POSTGRESQL://u:s3cret@db.example.org",
        "postgresql://u@db.example.org/foveal?password=s3cret",
        "postgresql://u@db.example.org/foveal?sslmode=require&sslpassword=s3cret",
        "postgresql://u:/s3cret@db.example.org/foveal",
        "postgresql://u:@db.example.org/foveal",
    ],
)
def test_a_password_among_the_arguments_is_refused_with_the_mend(location: str) -> None:
    for words in (
        ("store", "stats", location),
        ("store", "check", location),
        ("store", "index", location),
        ("store", "dump", location, "/nowhere/x"),
        ("store", "restore", location, "/nowhere/x"),
        ("store", "init", location),
        ("serve", "/nowhere", "--store", location),
    ):
        done = foveal(*words)
        assert done.returncode == 2
        assert "holds a password" in one_line(done.stderr)
        assert "--store-password-file" in done.stderr
        assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "location",
    ["/srv/a:b@c", "postgresql://u@[::1]:5432/foveal", "postgresql://h:1,h:2/foveal", "postgresql:///x?host=/run&user=u"],
)
def test_what_holds_no_password_is_not_refused(location: str) -> None:
    refuse_password(location)


def test_a_password_file_is_for_its_owner_alone_and_for_a_url(tmp_path: Path, password: Path) -> None:
    folder = foveal("store", "stats", str(tmp_path / "x"), "--store-password-file", str(password))
    assert "is for a postgresql:// URL" in one_line(folder.stderr)
    password.chmod(0o640 | 0o004)
    url = "postgresql://u@127.0.0.1:1/x"
    assert f"chmod 600 {password}" in one_line(foveal("store", "stats", url, "--store-password-file", str(password)).stderr)
    password.chmod(0o600)
    for text in ("", "\n", "two\nlines\n", "nul\0"):
        password.write_text(text)
        done = foveal("store", "stats", url, "--store-password-file", str(password))
        assert "holds no single line of text" in one_line(done.stderr)


async def test_pg_dump_is_given_everything_but_the_password_by_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nenv > {tmp_path}/environment\n')
    program.chmod(0o700)
    monkeypatch.setattr(Binaries, "path", lambda self, name: str(program))
    monkeypatch.setenv("PGOPTIONS", "-c search_path=x")
    far = "postgresql://u@db.example.org/foveal?channel_binding=require"
    await run_program(conninfo_of(far, connect_timeout_s=5, password=SECRET), ["pg_dump", "--format=custom"], at="there")
    arguments, environment = ((tmp_path / name).read_text() for name in ("arguments", "environment"))
    for part in ("--format=custom", "channel_binding=require", "sslmode=verify-full", "host=db.example.org"):
        assert part in arguments
    assert SECRET not in arguments
    assert f"PGPASSWORD={SECRET}\n" in environment
    assert "PGOPTIONS=-c search_path=x" in environment
    with pytest.raises(ConfigError, match="sslpassword"):
        await run_program("host=x sslpassword=s3cret", ["pg_dump"], at="there")


def test_a_service_elsewhere_must_prove_who_it_is_unless_it_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    file.write_text(
        "# of the region\n[far]\nhost=db.example.org\n[asks]\nhost=db.example.org\nsslmode=require\n[near]\nhost=127.0.0.1\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))

    def said(url: str) -> str:
        return conninfo_of(url, connect_timeout_s=5)

    assert "sslmode=verify-full" in said("postgresql:///?service=far")
    assert "sslmode" not in said("postgresql:///?service=asks")
    assert "sslmode" not in said("postgresql:///?service=near")
    assert "sslmode=verify-full" in said("postgresql:///?service=unknown")
    monkeypatch.setenv("PGSERVICE", "far")
    assert "sslmode=verify-full" in said("postgresql:///foveal")
    monkeypatch.delenv("PGSERVICE")
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert "sslmode=verify-full" in said("postgresql:///foveal")
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode" not in said("postgresql:///foveal")
