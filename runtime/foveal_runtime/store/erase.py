"""Erase a patient from a store's files: rows, dead copies, statistics and log, in every collection, and look for what is left.

A deleted row stays in its table's file until the file is written anew, in the indexes, and in the write-ahead log until its
segments are gone. What lies outside of the store (dumps, snapshots, replicas) is beyond reach, and is named. Knows nothing of
the blocks of a disk: what a deleted file leaves there is for encryption at rest (docs/operations.md).
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.store.archive import Archive
from foveal_runtime.store.cluster import ROOT_ROLE
from foveal_runtime.store.entry import Removed
from foveal_runtime.store.filter import Column, Equals
from foveal_runtime.store.patients import PatientRefs
from foveal_runtime.store.schema import Collection, all_collections

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.database import Database
    from foveal_runtime.store.options import StoreOptions

_CATALOGUES = ("pg_catalog.pg_statistic",)
"""Where PostgreSQL keeps commonest values of a column."""
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Erased:
    """What was erased, and what a look at the files found afterwards."""

    patient_sha256: str
    """Of the reference as it was stored; the reference itself would be one copy more."""
    at: datetime.datetime
    collections: dict[str, Removed]
    """By name; those that held nothing of the patient are left out."""
    log_switched: bool
    """The write-ahead log was begun anew. False where the role may not, on a server that is not ours."""
    files: int | None
    """Of the store's folder that were looked through; None where there is no folder."""
    left_in: tuple[str, ...]
    """Those that still hold the reference."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left as far as can be seen."""
        return self.log_switched and not self.left_in


async def erase(database: Database, patient: str, *, options: StoreOptions, folder: Path | None) -> Erased:
    """Erase every entry of a patient. Other calls wait while the tables are written anew.

    Args:
        database: opened by the tables' owner.
        patient: the reference, as callers send it.
        options: of the store, with its key where any collection's references are hashed.
        folder: of the store, to look through; None for a server elsewhere.

    Raises:
        StoreError: PostgreSQL is unreachable.
    """
    keyed = patient if options.patient_key is None else PatientRefs(options.patient_key).ref(patient)
    collections = await database.as_owner(all_collections)
    found = {}
    for collection in collections:
        own = options if collection.patient_key_id else replace(options, patient_key=None)
        removed = await Archive(database, collection, own).delete_where(Equals(Column.PATIENT, patient))
        if removed.entries or removed.vectors:
            found[collection.name] = removed
    switched = await written_anew(database, collections, embedded=folder is not None)
    written = {each.encode() for each in (keyed, patient if any(not c.patient_key_id for c in collections) else keyed)}
    files, left = (None, ()) if folder is None else _looked_through(folder, written)
    return Erased(
        patient_sha256=hashlib.sha256(keyed.encode()).hexdigest(),
        at=datetime.datetime.now(datetime.UTC).replace(microsecond=0),
        collections=found,
        log_switched=switched,
        files=files,
        left_in=left,
    )


async def written_anew(database: Database, collections: list[Collection], *, embedded: bool) -> bool:
    """Write every table anew, whoever was in it: an earlier delete left its rows as well; then begin the log anew.

    Returns:
        Whether the role may do the latter.
    """

    async def tables(connection: AsyncConnection) -> None:
        for collection in collections:
            for table in collection.tables.all:
                await connection.execute(f"VACUUM (FULL, ANALYZE) {table}")

    await database.as_owner(tables)
    return await _log_begun_anew(database, embedded=embedded)


async def _log_begun_anew(database: Database, *, embedded: bool) -> bool:
    """Write the statistics and begin the log anew; whether the role may. The embedded server's own superuser may."""
    from psycopg import AsyncConnection
    from psycopg.conninfo import make_conninfo
    from psycopg.errors import InsufficientPrivilege

    who = make_conninfo(database.owner_conninfo, user=ROOT_ROLE) if embedded else database.owner_conninfo
    async with await AsyncConnection.connect(who, autocommit=True) as connection:
        try:
            for catalogue in _CATALOGUES:
                await connection.execute(f"VACUUM FULL {catalogue}")
            # The log is kept from the last checkpoint's beginning on.
            for _ in range(2):
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CHECKPOINT")
        except InsufficientPrivilege:
            return False
    return True


def _looked_through(folder: Path, wanted: Set[bytes]) -> tuple[int, tuple[str, ...]]:
    """Files below a folder, and those that hold any of some bytes."""
    files, left = 0, []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            files += 1
            if any(_holds(path, each) for each in wanted):
                left.append(path.relative_to(folder).as_posix())
    return files, tuple(left)


def _holds(path: Path, wanted: bytes) -> bool:
    tail = b""
    for chunk in _chunks(path):
        if wanted in tail + chunk:
            return True
        tail = chunk[-len(wanted) :]
    return False


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        return  # PostgreSQL's own clearing up
