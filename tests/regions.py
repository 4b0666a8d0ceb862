"""A PostgreSQL of its own over TCP with passwords, which several servers share: stands in for a regional one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg

from foveal_runtime.rpc.address import free_port
from foveal_runtime.store.datafolder import write_config
from foveal_runtime.store.postgres import ROOT_ROLE, EmbeddedPostgres
from foveal_runtime.store.runas import RunAs

SECRET = "s3cret/pass@word"
ENCODED = "s3cret%2Fpass%40word"


class TcpPostgres(EmbeddedPostgres):
    """The embedded server, opened to TCP on loopback: stands in for a regional one."""

    port = 0

    def _configure(self, user: RunAs) -> None:
        super()._configure(user)
        hba = self.folder.conf / "pg_hba.conf"
        write_config(hba, hba.read_text() + "host all all 127.0.0.0/8 scram-sha-256\n")

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("listen_addresses=")] = "listen_addresses=127.0.0.1,127.0.0.2"
        command[command.index("port=5432")] = f"port={self.port}"
        return command

    def conninfo(self, role: str, database: str = "foveal") -> str:
        return super().conninfo(role, database).replace("5432", str(self.port))


def region(folder: Path) -> Iterator[TcpPostgres]:
    """A running one with roles and the databases `region`, with pgvector, and `bare`."""
    server = TcpPostgres(folder / "store")
    server.port = free_port()
    server.start()
    with psycopg.connect(server.conninfo(ROOT_ROLE), autocommit=True) as connection:
        for role in ("region_owner", "region_app", "region_stranger"):
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        connection.execute("CREATE DATABASE region OWNER region_owner")
        connection.execute("CREATE DATABASE bare OWNER region_owner")
    with psycopg.connect(server.conninfo(ROOT_ROLE, "region"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield server
    server.stop()


def url(remote: TcpPostgres, role: str, *, password: str = ENCODED, database: str = "region", host: str = "127.0.0.1") -> str:
    return f"postgresql://{role}:{password}@{host}:{remote.port}/{database}"
