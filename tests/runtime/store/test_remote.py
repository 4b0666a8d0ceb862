"""A PostgreSQL reached by URL over TCP with passwords: roles, several servers at once, refusals, what is never printed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from regions import ENCODED, SECRET, TcpPostgres, region, url
from servers import reachable_folder

from foveal_runtime.errors import ConfigError, FovealError, PreconditionError, StoreError
from foveal_runtime.rpc.address import free_port
from foveal_runtime.store import Archive, Column, Equals, StoreOptions
from foveal_runtime.store.database import Database
from foveal_runtime.store.location import conninfo_of, printable
from foveal_runtime.store.position import Position
from foveal_runtime.store.postgres import ROOT_ROLE

from .conftest import SPACE, entry, make_entries, unit_vectors, vector_of

QUICK = StoreOptions(maintain=False, connect_timeout_s=2.0, retry_for_s=0.5)


@pytest.fixture(scope="module")
def remote() -> Iterator[TcpPostgres]:
    with reachable_folder() as folder:
        yield from region(folder)


@pytest.fixture(scope="module")
def ready(remote: TcpPostgres) -> TcpPostgres:
    """The remote database after `foveal store init --app-role region_app`."""

    async def init() -> None:
        database = await Database.open(url(remote, "region_owner"), QUICK)
        await database.bring_up_to_date("region_app")
        await database.close()

    asyncio.run(init())
    return remote


async def test_a_role_that_may_only_serve_reads_writes_and_makes_collections(ready: TcpPostgres, collection_name: str) -> None:
    archive = await Archive.open(url(ready, "region_app"), space_id=SPACE, collection=collection_name, options=QUICK)
    try:
        items = make_entries(300)
        assert await archive.upsert(items) == 300
        assert (await archive.search(vector_of(items[7]), kind="image", k=1)).hits[0].id == items[7].id
        assert (await archive.delete([items[0].id])).entries == 1
        assert (await archive.database.run(Position.of)).log_bytes > 0, "what searches on standbys need"
    finally:
        await archive.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE foveal.mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "DROP TABLE foveal.collections",
        "UPDATE foveal.collections SET space_id = 'x'",
        "INSERT INTO foveal.schema_version (version) VALUES (99)",
        "SELECT foveal.create_collection('x', 'y', 3)",
        "COPY foveal.collections TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_a_role_that_may_only_serve_can_do_nothing_else(ready: TcpPostgres, statement: str) -> None:
    conninfo = conninfo_of(url(ready, "region_app"), connect_timeout_s=2)
    with psycopg.connect(conninfo, autocommit=True) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


async def test_a_role_without_rights_is_told_which_command_gives_them(ready: TcpPostgres) -> None:
    with pytest.raises(PreconditionError, match="foveal store init"):
        await Archive.open(url(ready, "region_stranger"), space_id=SPACE, options=QUICK)


async def test_a_database_without_pgvector_is_named(remote: TcpPostgres) -> None:
    with pytest.raises(StoreError, match=r"has no pgvector.*CREATE EXTENSION vector as an administrator"):
        await Archive.open(url(remote, "region_owner", database="bare"), space_id=SPACE, options=QUICK)


async def test_an_old_postgresql_is_named(ready: TcpPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal_runtime.store.database.OLDEST_POSTGRES", 990_000)
    with pytest.raises(StoreError, match="is version 18, 99 or newer is needed"):
        await Archive.open(url(ready, "region_app"), space_id=SPACE, options=QUICK)


async def test_an_old_pgvector_is_named(ready: TcpPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foveal_runtime.store.database.OLDEST_PGVECTOR", (99, 0, 0))
    with pytest.raises(StoreError, match=r"pgvector .* 99\.0\.0 or newer is needed"):
        await Archive.open(url(ready, "region_app"), space_id=SPACE, options=QUICK)


@pytest.mark.parametrize(
    "build",
    [
        lambda r: url(r, "region_app", password="wr0ng-" + ENCODED),
        lambda r: f"postgresql://region_app:{ENCODED}@127.0.0.1:{free_port()}/region",
        lambda r: f"postgresql://region_app:{ENCODED}@127.0.0.1:notaport{SECRET}/region",
        lambda r: f"postgresql://region_app:/{SECRET}@127.0.0.1:{r.port}/region",
        lambda r: f"postgresql://region_app:x@{SECRET}@127.0.0.1:{r.port}/region",
        lambda r: f"postgresql://region_app:{ENCODED}@127.0.0.1:1/region?unknown_{SECRET.split('/')[0]}=1",
        lambda r: url(r, "region_app", database="nosuch"),
        lambda r: url(r, "region_app", host="127.0.0.2"),
    ],
    ids=[
        "wrong password",
        "nobody listens",
        "malformed",
        "raw slash",
        "raw at",
        "unknown parameter",
        "no such database",
        "no TLS",
    ],
)
async def test_a_server_that_cannot_be_used_is_named_and_the_password_is_not(
    remote: TcpPostgres, build: object, caplog: pytest.LogCaptureFixture
) -> None:
    location = build(remote)  # type: ignore[operator]
    with pytest.raises(FovealError) as caught:
        await Archive.open(location, space_id=SPACE, options=QUICK)
    chain, error = [], caught.value
    while error is not None:
        chain.append(f"{error!r} {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    said = " ".join([*chain, caplog.text, printable(location)])
    assert isinstance(caught.value, StoreError | ConfigError)
    assert "s3cret" not in said


def test_a_server_elsewhere_must_prove_who_it_is_unless_the_url_says_otherwise() -> None:
    far = conninfo_of("postgresql://u@db.example.org/foveal", connect_timeout_s=5)
    assert "sslmode=verify-full" in far
    assert "sslrootcert=system" in far
    assert "sslmode=require" in conninfo_of("postgresql://u@db.example.org/foveal?sslmode=require", connect_timeout_s=5)
    assert "sslmode" not in conninfo_of("postgresql://u@localhost/foveal", connect_timeout_s=5)
    assert "sslmode" not in conninfo_of("postgresql:///foveal?host=/run/postgresql", connect_timeout_s=5)
    own = conninfo_of("postgresql://u@db.example.org/foveal?sslrootcert=/etc/ca.pem", connect_timeout_s=5)
    assert "sslrootcert=/etc/ca.pem" in own


async def test_four_servers_write_and_read_one_collection_at_once(ready: TcpPostgres, collection_name: str) -> None:
    options = StoreOptions(maintain=False, connections_max=3)
    archives = [
        await Archive.open(url(ready, "region_app"), space_id=SPACE, collection=collection_name, options=options)
        for _ in range(4)
    ]
    vectors = unit_vectors(12)
    torn: list[set[str]] = []

    async def write(server: int) -> None:
        for turn in range(12):
            mark = f"{server}-{turn}"
            order = range(12) if server % 2 else reversed(range(12))
            await archives[server].upsert(
                [entry(id=f"shared-{i}", kind="image", vector=vectors[i], site=mark) for i in order]
                + [entry(id=f"own-{mark}-{i}", kind="image", vector=vectors[i], site=mark) for i in range(3)]
            )

    async def read(server: int, done: asyncio.Event) -> None:
        while not done.is_set():
            marks = {item.site for item in await archives[server].get([f"shared-{i}" for i in range(12)])}
            if len(marks) > 1:
                torn.append(marks)
            await asyncio.sleep(0)

    try:
        done = asyncio.Event()
        readers = [asyncio.create_task(read(s, done)) for s in range(4)]
        await asyncio.gather(*(write(s) for s in range(4)))
        done.set()
        await asyncio.gather(*readers)
        assert torn == []
        assert await archives[0].count() == 12 + 4 * 12 * 3
        shared = await archives[1].get([f"shared-{i}" for i in range(12)])
        assert len({item.site for item in shared}) == 1
        assert shared[0].site.endswith("-11"), "the last of some server's writes won"
        for server in range(4):
            assert await archives[server].count(filter=Equals(Column.SITE, f"{server}-11")) in (3, 15)
    finally:
        for archive in archives:
            await archive.close()


async def test_a_connection_that_breaks_is_replaced_without_a_word_to_the_caller(
    ready: TcpPostgres, collection_name: str
) -> None:
    archive = await Archive.open(url(ready, "region_app"), space_id=SPACE, collection=collection_name)
    try:
        await archive.upsert(make_entries(5))
        with psycopg.connect(ready.conninfo(ROOT_ROLE), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'region_app'")
        assert await archive.count() == 5
        assert await archive.alive()
    finally:
        await archive.close()


async def test_a_server_that_goes_away_is_named_after_the_retries(remote: TcpPostgres, store_parent: Path) -> None:
    server = TcpPostgres(store_parent / "store")
    server.port = free_port()
    server.start()
    with psycopg.connect(server.conninfo(ROOT_ROLE), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE admin SUPERUSER LOGIN PASSWORD '{SECRET}'")
    archive = await Archive.open(url(server, "admin", database="foveal"), space_id=SPACE, options=QUICK)
    await asyncio.to_thread(server.stop)
    try:
        with pytest.raises(StoreError, match=rf"PostgreSQL at postgresql://127.0.0.1:{server.port}/foveal can't be reached"):
            await archive.count()
        assert not await archive.alive()
    finally:
        await archive.close()


@pytest.mark.parametrize("location", ["", "   ", "http://example.org/x", "mysql://u:s3cret@h/db"])
async def test_a_location_that_is_neither_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="name a folder or a postgresql:// URL") as caught:
        await Archive.open(location, space_id=SPACE)
    assert "s3cret" not in str(caught.value)
