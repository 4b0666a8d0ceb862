"""`foveal store erase`: nothing of a patient in any file of the store, everything of the others still there."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import foveal

from foveal_runtime.store import Archive, StoreOptions

from .conftest import SPACE, make_entries

QUIET = StoreOptions(maintain=False)
MINE = "patient-Zq7-to-erase"


def _holding(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and MINE.encode() in path.read_bytes()]


async def _filled(folder: Path) -> None:
    """A patient of six entries among thirty, written, changed and deleted in part, and as many that a migration left behind."""
    for name in ("default", "default.before-4"):
        archive = await Archive.open(folder, space_id=SPACE, collection=name, options=QUIET)
        try:
            mine = [replace(each, patient=MINE) for each in make_entries(6, prefix="mine")]
            await archive.upsert(make_entries(30) + mine)
            await archive.upsert([replace(mine[0], camera="another")])
            await archive.delete([mine[1].id])
        finally:
            await archive.close()


async def _entries(folder: Path) -> int:
    archive = await Archive.inspect(folder, options=QUIET)
    try:
        return await archive.count_entries()
    finally:
        await archive.close()


def test_nothing_of_a_patient_is_left_in_any_file_and_the_others_are(
    store_parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store_parent / "store"
    asyncio.run(_filled(folder))
    assert _holding(folder), "a deleted row stays in its table's file, and all of it in the log"
    (store_parent / "before.dump").write_bytes(b"")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{MINE}\n"))
    done = foveal("store", "erase", str(folder), "--patient-file", "-", "--dumps", str(store_parent), "--json")
    assert done.returncode == 0, done.stderr
    assert _holding(folder) == []
    document = json.loads(done.stdout)
    assert MINE not in done.stdout + done.stderr
    erased = {"entries": 5, "vectors": 5}
    assert document["collections"] == {"default": erased, "default.before-4": erased}
    assert document["complete"]
    assert document["files_looked_through"] > 100
    assert document["not_erased"] == [str(store_parent / "before.dump")]

    assert asyncio.run(_entries(folder)) == 30


def test_a_reference_that_nobody_gave_and_a_store_that_is_not_there_are_refused(store_parent: Path) -> None:
    (store_parent / "empty").write_text(" \n")
    done = foveal("store", "erase", str(store_parent / "store"), "--patient-file", str(store_parent / "empty"))
    assert done.returncode == 2
    assert "holds no reference" in done.stderr
    assert not (store_parent / "store").exists()
