"""`foveal store hash-patients`: references that a store keeps as they came become hashes. The work is `store.references`'s."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.store_place import Password, options_for
from foveal_runtime.errors import CheckFailed, ConfigError


def hash_patients(location: str, /, *, key: Path | None = None, password: Password | None = None, json: Json = False) -> None:
    """Hash the patient references of every collection that keeps them as they came, sources and attributes that name one too.

    Stop the servers of the store first. The tables and the write-ahead log are written anew, so that the files hold no plain
    reference any more; dumps that were made before do. Afterwards servers find the key by themselves (or by --hash-patients),
    and callers send references as before. There is no way back: HMAC-SHA256 can't be undone.

    For example:

        foveal store dump /var/lib/foveal/store before-hashing.dump
        foveal store hash-patients /var/lib/foveal/store

    Args:
        location: store folder, or postgresql:// URL of the tables' owner.
        key: file of the key, made where it is missing; default: patients.key in the store's folder.
        json: print one JSON document.
    """
    from foveal_runtime.store.database import Database
    from foveal_runtime.store.erase import written_anew
    from foveal_runtime.store.location import is_url
    from foveal_runtime.store.patients import make_key, read_key
    from foveal_runtime.store.references import hash_patients as run
    from foveal_runtime.store.references import key_file, key_of
    from foveal_runtime.store.schema import all_collections

    path = key_file(location, key)
    if path is None:
        raise ConfigError("a postgresql:// store has no folder for the key; name its file by --key FILE")

    async def work() -> tuple[dict[str, int], bool]:
        database = await Database.open(location, options_for(location, password, statement_timeout_s=3600))
        try:
            collections = await database.as_owner(all_collections)
            if any(each.patient_key_id for each in collections) or path.exists():
                used = key_of(collections, location=location, named=path) or read_key(path)
            else:
                used = make_key(path)
            changed = await database.as_owner(lambda connection: run(connection, collections, used))
            return changed, await written_anew(database, collections, embedded=not is_url(location))
        finally:
            await database.close()

    changed, switched = asyncio.run(work())
    if json:
        print_json({"key": str(path), "collections": changed, "write_ahead_log_switched": switched})
    else:
        rows = [f"{name}: {count} entries with a patient" for name, count in changed.items()] or ["every collection was hashed"]
        rows.append(f"key: {path}; keep a copy apart from the store's backups: without it no patient is found by reference")
        sys.stdout.write("\n".join(rows) + "\n")
    if not switched:
        raise CheckFailed("references are hashed, but the write-ahead log could not be switched; run it as the tables' owner")
