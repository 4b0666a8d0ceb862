"""Whether a store's patient references are keyed, and with which key: what a collection was made with decides, not a flag.

New collections are keyed unless their server is told otherwise; the key is made with the first. Older collections with
references as they came stay so until `foveal store hash-patients` rewrites them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.errors import ConfigError, PreconditionError
from foveal_runtime.store.location import folder_of, is_url
from foveal_runtime.store.patients import KEY_NAME, PatientRefs, make_key, read_key

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from foveal_runtime.store.schema import Collection


class References(StrEnum):
    """How new collections keep references of patients."""

    HASHED = "hashed"
    PLAIN = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyed:
    """How one collection keeps them."""

    key: bytes | None = field(default=None, repr=False)
    """None for references as they come."""
    made: Path | None = None
    """File of a key that was made just now."""
    warning: str = ""
    """What its operator should know."""


def key_file(location: str | Path, named: Path | None) -> Path | None:
    """Where a store's key is; None for a URL where none is named."""
    if named is not None:
        return named
    return None if is_url(location) else folder_of(location) / KEY_NAME


def keyed(
    collections: Sequence[Collection], name: str, *, location: str | Path, wanted: References, named: Path | None
) -> Keyed:
    """The key of a collection that is to be served; made where it is the store's first.

    Args:
        collections: every collection of the store.
        name: of the one that is served, new or not.
        location: of the store.
        wanted: how a new collection keeps references.
        named: file of the key that was named; None is the store folder's own.

    Raises:
        ConfigError: the key can't be made, can't be read, or has no place.
        PreconditionError: the key is lost.
    """
    found = next((each for each in collections if each.name == name), None)
    if found is not None and not found.patient_key_id:
        if named is not None:
            return Keyed(key=read_key(named))  # refused when the collection is opened: it was made without
        return Keyed(warning="" if wanted is References.PLAIN else _plain(name, location))
    if found is None and wanted is References.PLAIN:
        return Keyed()
    path = key_file(location, named)
    if path is None:
        raise ConfigError(
            "patient references are hashed, and a postgresql:// store has no folder for the key; name its file by "
            "--hash-patients FILE (made where it is missing), or keep references as they come by --patient-references plain"
        )
    if path.exists():
        return Keyed(key=read_key(path))
    made_with = sorted({each.patient_key_id for each in collections if each.patient_key_id})
    if made_with:
        raise lost(path, made_with)
    return Keyed(key=make_key(path), made=path)


def _plain(name: str, location: str | Path) -> str:
    where = "URL" if is_url(location) else location
    return (
        f"collection {name!r} keeps patient references as they came; `foveal store hash-patients {where}` hashes them, and "
        "--patient-references plain ends this warning"
    )


def lost(path: Path, key_ids: Sequence[str]) -> PreconditionError:
    """What to say of a key that is not there."""
    return PreconditionError(
        f"patient references of this store are keyed with key {', '.join(key_ids)}, and {path} is not there; copy the key back "
        "from where it is kept, or name its file by --hash-patients. Without it no patient can be found by reference, and "
        "nothing brings it back; a new collection (--collection) has a key of its own only in a store of its own"
    )


def key_of(collections: Sequence[Collection], *, location: str | Path, named: Path | None) -> bytes | None:
    """The key of a store's keyed collections, for `foveal store` commands; None where there are none.

    Raises:
        PreconditionError: it is lost, or another one.
        ConfigError: it can't be read.
    """
    key_ids = sorted({each.patient_key_id for each in collections if each.patient_key_id})
    path = key_file(location, named)
    if not key_ids:
        return None if named is None else read_key(named)
    if path is None:
        raise ConfigError(f"patient references are keyed with key {', '.join(key_ids)}; name its file by --hash-patients")
    if not path.exists():
        raise lost(path, key_ids)
    key = read_key(path)
    others = [each for each in key_ids if each != PatientRefs(key).key_id]
    if others:
        raise PreconditionError(
            f"{path} holds key {PatientRefs(key).key_id}, and references are keyed with {', '.join(others)}"
        )
    return key


async def hash_patients(connection: AsyncConnection, collections: Sequence[Collection], key: bytes) -> dict[str, int]:
    """Key the references of every collection that keeps them as they came, in one transaction. Nobody may write meanwhile.

    Args:
        connection: of the tables' owner, autocommit.
        collections: every collection of the store.
        key: of the store.

    Returns:
        Entries with a patient, by collection that was changed.
    """
    from psycopg.types.json import Jsonb

    patients, changed = PatientRefs(key), dict[str, int]()
    async with connection.transaction():
        for each in collections:
            if each.patient_key_id:
                continue
            table = each.tables.entries
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            cursor = await connection.execute(f"SELECT id, patient, source, attributes FROM {table} WHERE patient <> ''")
            rows = await cursor.fetchall()
            values = [
                (
                    patients.ref(patient),
                    patients.hide(source, patient),
                    Jsonb({name: patients.hide(value, patient) for name, value in attributes.items()}),
                    entry_id,
                )
                for entry_id, patient, source, attributes in rows
            ]
            async with connection.cursor() as writing:
                await writing.executemany(
                    f"UPDATE {table} SET patient = %s, source = %s, attributes = %s WHERE id = %s", values
                )
            await connection.execute(
                "UPDATE foveal.collections SET patient_key_id = %s WHERE name = %s", (patients.key_id, each.name)
            )
            changed[each.name] = len(rows)
    return changed
