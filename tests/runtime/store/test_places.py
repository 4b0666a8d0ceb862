"""Folders and disks that can't be used for a store, or hardly: on the real thing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError, StoreError
from foveal_runtime.store import Archive, StoreOptions
from foveal_runtime.store.leftovers import workers_in
from foveal_runtime.store.postgres import ROOT_ROLE, EmbeddedPostgres

from .conftest import SPACE, make_entries


def test_a_folder_in_use_is_refused_at_once(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(StoreError, match=rf"in use by another foveal \(process {os.getpid()}\)"):
        EmbeddedPostgres(postgres.folder.root).start()


def test_a_folder_with_other_files_is_refused_untouched(store_parent: Path) -> None:
    (store_parent / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        EmbeddedPostgres(store_parent).start()
    assert [p.name for p in store_parent.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_store_folder(store_parent: Path) -> None:
    (store_parent / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        EmbeddedPostgres(store_parent / "file").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user PostgreSQL reaches what foveal reaches")
def test_a_folder_that_postgres_cannot_reach_is_refused_and_not_opened_up(store_parent: Path) -> None:
    closed = store_parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StoreError, match=r"may not enter .*closed \(drwx------\); choose a folder"):
        EmbeddedPostgres(closed / "store").start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not (closed / "store").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused(store_parent: Path) -> None:
    store_parent.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        EmbeddedPostgres(store_parent / "store").start()


def test_a_path_too_long_for_a_socket_works(store_parent: Path) -> None:
    folder = store_parent / ("x" * 120) / "store"
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        assert str(folder) not in server.conninfo(ROOT_ROLE)
    finally:
        server.stop()


def test_data_of_another_postgresql_is_refused(store_parent: Path) -> None:
    folder = store_parent / "store"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    (folder / "pgdata" / "PG_VERSION").write_text("16\n")
    with pytest.raises(StoreError, match="made by PostgreSQL 16"):
        EmbeddedPostgres(folder).start()
    assert not workers_in(folder / "pgdata")


def test_a_start_that_fails_says_why_and_leaves_nothing_running(store_parent: Path) -> None:
    folder = store_parent / "store"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    with (folder / "conf" / "postgresql.conf").open("a") as conf:
        conf.write("shared_buffers = nonsense\n")
    with pytest.raises(StoreError, match="does not start"):
        EmbeddedPostgres(folder).start()
    assert not workers_in(folder / "pgdata")


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own, in memory."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small_disk(store_parent: Path) -> Iterator[Path]:
    """A file system of 150 MB."""
    with mounted(store_parent / "disk", "size=150m,mode=711") as place:
        yield place


def test_a_folder_on_a_read_only_file_system_is_refused(store_parent: Path) -> None:
    with (
        mounted(store_parent / "disk", "ro,size=1m,mode=711") as place,
        pytest.raises(StoreError, match=r"read-only file system; choose another folder"),
    ):
        EmbeddedPostgres(place / "store").start()


async def test_a_full_disk_is_named_and_loses_nothing_acknowledged(small_disk: Path) -> None:
    options = StoreOptions(maintain=False, retry_for_s=1.0)
    archive = await Archive.open(small_disk / "store", space_id=SPACE, options=options)
    acknowledged = []
    try:
        (small_disk / "ballast").write_bytes(bytes(int(shutil.disk_usage(small_disk).free * 0.8)))

        async def fill() -> None:
            for number in range(1000):
                items = make_entries(1000, seed=number, prefix=f"write-{number}")
                await archive.upsert(items)
                acknowledged.append(items[-1].id)

        with pytest.raises(StoreError, match=r"no disk space left|No space left on device"):
            await fill()
        (small_disk / "ballast").unlink()
        async with asyncio.timeout(20):
            while not await archive.alive():
                await asyncio.sleep(0.05)
        assert len(await archive.get(acknowledged)) == len(acknowledged)
        assert await archive.count() in (1000 * len(acknowledged), 1000 * (len(acknowledged) + 1))
        await archive.upsert(make_entries(3, prefix="after"))
    finally:
        await archive.close()
