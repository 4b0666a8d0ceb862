"""Searches answered by real streaming standbys, which are killed, stopped, delayed and promoted under them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from regions import SECRET
from servers import reachable_folder
from standbys import Owner, Standby, streaming

from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.address import free_port
from foveal_runtime.store import Archive, StoreOptions
from foveal_runtime.store.options import ReplicaReads
from foveal_runtime.store.position import OwnerLog, Position
from foveal_runtime.store.replica import ReplicaState

from .conftest import SPACE, make_entries, vector_of

OPTIONS = StoreOptions(maintain=False, password=SECRET, connect_timeout_s=5.0, replica_max_lag_s=60.0)
OWN = replace(OPTIONS, replica_reads=ReplicaReads.OWN_WRITES)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Owner, list[Standby]]]:
    with reachable_folder() as folder, streaming(folder, 2) as made:
        yield made


@pytest.fixture
def owner(cluster: tuple[Owner, list[Standby]]) -> Owner:
    return cluster[0]


@pytest.fixture
def standby(cluster: tuple[Owner, list[Standby]]) -> Standby:
    return cluster[1][0]


Opening = Callable[..., Any]


@pytest.fixture
def opened(owner: Owner, standby: Standby, collection_name: str) -> Opening:
    """Opens the test's collection, with standbys."""

    @asynccontextmanager
    async def opening(options: StoreOptions = OPTIONS, replicas: tuple[str, ...] | None = None) -> AsyncIterator[Archive]:
        urls = (standby.url(),) if replicas is None else replicas
        archive = await Archive.open(owner.url(), space_id=SPACE, collection=collection_name, options=options, replicas=urls)
        try:
            yield archive
        finally:
            await archive.close()

    return opening


async def until(true: Callable[[], bool]) -> None:
    """Wait for what the watch will see."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


async def serving(archive: Archive) -> None:
    await until(lambda: archive.replicas[0].state is ReplicaState.SERVING)


def reads(archive: Archive) -> int:
    return archive.replicas[0].reads


async def found(archive: Archive, wanted: Any) -> str:
    result = await archive.search(vector_of(wanted), kind="image", k=1)
    return result.hits[0].id if result.hits else ""


async def test_searches_and_listings_are_answered_by_the_standby(opened: Opening, standby: Standby) -> None:
    items = make_entries(300)
    async with opened() as archive:
        await archive.upsert(items)
        standby.caught_up()
        for item in items[:20]:
            assert await found(archive, item) == item.id
        assert [each.id for each in await archive.page(count=3)] == [item.id for item in items[:3]]
        assert (reads(archive), archive.reads_by_owner) == (21, 0)
        assert (await archive.get([items[0].id]))[0].id == items[0].id
        assert reads(archive) == 21, "what is read by its id is the owner's: it was most often just written"
        status = archive.replicas[0]
        assert status.lag_s is not None
        assert 0 <= status.lag_s < 60


async def test_a_write_is_seen_by_its_server_while_the_standby_is_delayed(opened: Opening, standby: Standby) -> None:
    first, second = make_entries(2)
    async with opened(OWN) as archive:
        await archive.upsert([first])
        standby.caught_up()
        assert await found(archive, first) == first.id
        before = reads(archive)
        assert before == 1
        with standby.delayed():
            await archive.upsert([second])
            assert await found(archive, second) == second.id
            await archive.update(first.id, {"site": "north"})
            assert (await archive.search(vector_of(first), kind="image", k=1)).hits[0].site == "north"
            await archive.delete([second.id])
            assert await found(archive, second) == first.id
            assert reads(archive) == before, "the standby has none of it yet"
        standby.caught_up()
        await until(lambda: archive._replicas._replicas[0].usable)  # type: ignore[union-attr]
        assert await found(archive, second) == first.id
        assert reads(archive) == before + 1


@pytest.mark.parametrize("mode", list(ReplicaReads))
async def test_writes_of_another_server_are_seen_at_once_unless_it_is_told_otherwise(
    opened: Opening, standby: Standby, mode: ReplicaReads
) -> None:
    first, second = make_entries(2)
    async with opened(replace(OPTIONS, replica_reads=mode)) as archive, opened(OPTIONS, ()) as other:
        await other.upsert([first])
        standby.caught_up()
        assert await found(archive, first) == first.id
        with standby.delayed():
            await other.upsert([second])
            seen = await found(archive, second)
        # The twin: what the standby alone knows is really what it would have answered.
        assert seen == (second.id if mode is ReplicaReads.ALL_WRITES else first.id)


async def test_a_standby_killed_under_searches_costs_no_answer_and_is_taken_back(
    opened: Opening, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    items = make_entries(400)
    async with opened() as archive:
        await archive.upsert(items)
        standby.caught_up()
        over = False
        answered = 0

        async def search(caller: int) -> None:
            nonlocal answered
            while not over:
                item = items[(caller * 97 + answered) % len(items)]
                assert await found(archive, item) == item.id
                answered += 1

        async with asyncio.TaskGroup() as callers:
            for caller in range(6):
                callers.create_task(search(caller))
            await until(lambda: reads(archive) > 50)
            with caplog.at_level(logging.INFO, "foveal.lifecycle"):
                await asyncio.to_thread(standby.kill)
                await until(lambda: archive.replicas[0].state is not ReplicaState.SERVING)
                then = answered
                await until(lambda: answered > then + 50)
                await asyncio.to_thread(standby.start)
                await serving(archive)
            before = reads(archive)
            await until(lambda: reads(archive) > before + 50)
            over = True
        told = [record for record in caplog.records if record.name == "foveal.lifecycle"]
        assert [getattr(record, "event", "") for record in told] == ["replica_lost", "replica_back"]
        assert not [record for record in told if "127.0.0.1" in record.getMessage() or SECRET in record.getMessage()]


async def test_a_standby_that_hangs_keeps_no_caller(opened: Opening, standby: Standby) -> None:
    items = make_entries(20)
    async with opened() as archive:
        await archive.upsert(items)
        standby.caught_up()
        assert await found(archive, items[0]) == items[0].id
        assert reads(archive) == 1
        with standby.stopped():
            async with asyncio.timeout(30):
                assert await asyncio.gather(*(found(archive, item) for item in items)) == [item.id for item in items]
            assert archive.replicas[0].state is ReplicaState.AWAY
        await serving(archive)


async def test_searches_that_need_no_others_writes_go_on_without_the_owner_as_long_as_the_lag_allows(
    opened: Opening, owner: Owner, standby: Standby
) -> None:
    items = make_entries(5)
    async with opened(OWN) as archive:
        await archive.upsert(items)
        standby.caught_up()
        await serving(archive)
        assert await found(archive, items[0]) == items[0].id
        with owner.stopped():
            async with asyncio.timeout(30):
                assert [await found(archive, item) for item in items] == [item.id for item in items]
        assert archive.reads_by_owner == 0


async def test_a_standby_too_far_behind_is_left_out_until_it_has_caught_up(opened: Opening, standby: Standby) -> None:
    items = make_entries(2)
    async with opened(replace(OWN, replica_max_lag_s=0.4)) as archive, opened(OPTIONS, ()) as other:
        await other.upsert(items[:1])
        await serving(archive)
        with standby.delayed():
            await other.upsert(items[1:])
            await until(lambda: archive.replicas[0].state is ReplicaState.BEHIND)
            assert await found(archive, items[1]) == items[1].id
            # It only tells a lag that is real: an owner to which nothing happens has nobody behind it.
        await serving(archive)
        standby.caught_up()
        assert await found(archive, items[1]) == items[1].id


async def test_nothing_that_is_no_standby_of_the_owner_answers(
    opened: Opening, owner: Owner, cluster: tuple[Owner, list[Standby]]
) -> None:
    promoted = cluster[1][1]
    (item,) = make_entries(1)
    away = f"postgresql://region_owner@127.0.0.1:{free_port()}/region"
    stranger = promoted.url("nobody_there")
    urls = (promoted.url(), owner.url(), promoted.url(database="other"), away, stranger)
    async with opened(OPTIONS, urls) as archive:
        await archive.upsert([item])
        states = [each.state for each in archive.replicas]
        unfit = ReplicaState.UNFIT
        assert states == [ReplicaState.SERVING, unfit, unfit, ReplicaState.AWAY, ReplicaState.AWAY]
        assert await asyncio.to_thread(promoted.sql, "SELECT pg_promote()") is True
        promoted.sql("SELECT count(*) FROM pg_class")
        assert await found(archive, item) == item.id
        await until(lambda: archive.replicas[0].state is unfit)
        assert await found(archive, item) == item.id


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (psycopg.errors.SerializationFailure, True),  # a conflict with its own replay
        (psycopg.errors.UndefinedTable, True),
        (psycopg.errors.QueryCanceled, True),
        (psycopg.errors.UndefinedFile, False),  # no pgvector on that machine
        (psycopg.OperationalError, False),
    ],
)
async def test_what_fails_on_the_standby_is_asked_of_the_owner(
    opened: Opening, error: type[psycopg.Error], stays: bool
) -> None:
    async with opened(OWN) as archive:
        await serving(archive)

        async def work(connection: psycopg.AsyncConnection[Any]) -> bool:
            cursor = await connection.execute("SELECT pg_is_in_recovery()")
            row = await cursor.fetchone()
            assert row is not None
            if row[0]:
                raise error("as PostgreSQL would")
            return True

        await until(lambda: archive._replicas._replicas[0].usable)  # type: ignore[union-attr]
        assert await archive._read(work)
        assert archive.reads_by_owner == 1
        assert (archive.replicas[0].state is ReplicaState.SERVING) == stays


async def test_reads_are_spread_over_standbys(opened: Opening, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(OWN, (standby.url(), standby.url())) as archive:
        gate = asyncio.Event()

        async def work(connection: psycopg.AsyncConnection[Any]) -> None:
            await gate.wait()

        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(archive._read(work))
                await until(lambda number=number: sum(r.in_work for r in archive._replicas._replicas) == number + 1)  # type: ignore[misc,union-attr]
            gate.set()
        assert [each.reads for each in archive.replicas] == [2, 2]


async def test_a_url_that_cannot_be_read_is_refused_at_the_start(opened: Opening) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        async with opened(OPTIONS, ("postgresql://user@host:port/x",)):
            pass


def test_lag_is_measured_by_the_owners_log_and_by_one_clock() -> None:
    log = OwnerLog(keep_s=10)
    for at_s, length in ((1.0, 100), (2.0, 100), (3.0, 250), (9.0, 400)):
        log.note(at_s, Position(False, 7, 5, length))
    assert log.held_since_s(99) is None
    assert [log.held_since_s(length) for length in (100, 249, 250, 400, 999)] == [2.0, 2.0, 3.0, 9.0, 9.0]
    log.note(14.0, Position(False, 7, 5, 500))
    assert log.held_since_s(250) == 3.0, "the last moment beyond what is kept tells how old a thing is"
    assert log.held_since_s(100) is None


@pytest.mark.parametrize("other", [Position(False, 8, 5, 900), Position(False, 7, 5, 200)])
def test_another_owner_begins_anew(other: Position) -> None:
    log = OwnerLog(keep_s=10)
    log.note(1.0, Position(False, 7, 5, 500))
    log.note(2.0, other)
    assert log.held_since_s(other.log_bytes - 1) is None
    assert log.held_since_s(other.log_bytes) == 2.0
