"""`foveal store erase`: a patient out of a store's files, with a certificate. The work is `store.erase`'s."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.store_place import Password, options_for
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from foveal_runtime.store.erase import Erased


def erase(
    location: str,
    /,
    *,
    patient_file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    hash_patients: Path | None = None,
    dumps: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=False)] = None,
    password: Password | None = None,
    json: Json = False,
) -> None:
    """Erase a patient from a store: entries of every collection, a migration's old ones too, and what PostgreSQL keeps of them.

    Tables are written anew and the write-ahead log begun anew; searches and writes wait meanwhile. The files of a store folder
    are then looked through for the reference. What is printed is a certificate: it names the hash of the reference, never the
    reference. Exit code 1 when something is left, or the log of a server elsewhere could not be switched.

    For example:
        printf %s P-1234 | foveal store erase /var/lib/foveal/store --patient-file - --dumps /var/backups/foveal

    Args:
        location: store folder or postgresql:// URL of the tables' owner.
        patient_file: file with the patient's reference; - reads it from stdin. An argument would show it to every local user.
        hash_patients: file of the key of hashed references; default: patients.key in the store's folder.
        dumps: folder of dumps; those that were made before stand in the certificate, and have to be erased by hand.
        json: print the certificate as one JSON document.
    """
    from foveal_runtime.store.database import Database
    from foveal_runtime.store.erase import erase as run
    from foveal_runtime.store.location import folder_of, is_url
    from foveal_runtime.store.references import key_of
    from foveal_runtime.store.schema import all_collections

    patient = (sys.stdin.read() if str(patient_file) == "-" else patient_file.read_text(encoding="utf-8")).strip()
    if not patient:
        raise ConfigError("--patient-file holds no reference; give the patient's, as it was stored")
    folder = None if is_url(location) else folder_of(location)

    async def work() -> Erased:
        options = options_for(location, password, statement_timeout_s=3600)
        database = await Database.open(location, options, attach=True)
        try:
            collections = await database.as_owner(all_collections)
            options = replace(options, patient_key=key_of(collections, location=location, named=hash_patients))
            return await run(database, patient, options=options, folder=folder)
        finally:
            await database.close()

    found = asyncio.run(work())
    document = certificate(location, found, [path for each in dumps or () for path in sorted(each.glob("*.dump"))])
    if json:
        print_json(document)
    else:
        sys.stdout.write(screen(document))
    if not found.complete:
        why = f"still in {', '.join(found.left_in)}" if found.left_in else "the write-ahead log could not be switched"
        raise CheckFailed(f"the patient is erased, but not from every file: {why}; run it again as the tables' owner")


def certificate(location: str, found: Erased, dumps: list[Path]) -> dict[str, Any]:
    """What was erased, as one document."""
    from foveal_runtime import __version__
    from foveal_runtime.store.location import printable

    return {
        "schema_version": 1,
        "store": printable(location),
        "erased_at": found.at.isoformat(),
        "foveal": __version__,
        "patient_sha256": found.patient_sha256,
        "collections": {name: {"entries": r.entries, "vectors": r.vectors} for name, r in found.collections.items()},
        "write_ahead_log_switched": found.log_switched,
        "files_looked_through": found.files,
        "left_in": list(found.left_in),
        "complete": found.complete,
        "not_erased": [str(path) for path in dumps],
    }


def screen(document: dict[str, Any]) -> str:
    """The certificate for people."""
    rows = [f"{document['store']}: patient {document['patient_sha256'][:16]} (SHA-256) erased {document['erased_at']}"]
    for name, each in document["collections"].items():
        rows.append(f"  {name}: {each['entries']} entries, {each['vectors']} vectors")
    if not document["collections"]:
        rows.append("  no collection held an entry")
    looked = document["files_looked_through"]
    rows.append(
        "  a server elsewhere: its files were not looked through" if looked is None else f"  {looked} files looked through"
    )
    rows += [f"  NOT ERASED: {path} was made before; remove it" for path in document["not_erased"]]
    rows.append("  copies outside of the store (dumps, snapshots, replicas) are yours to erase")
    return "\n".join(rows) + "\n"
