"""`foveal store …`: look after an archive: stats, check, index, dump, restore, init and what other modules add. The work is
`store`'s."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.layout import width
from foveal_runtime.cli.store_place import Password, inspect, options_for
from foveal_runtime.cli.store_stats import stats_document, stats_text
from foveal_runtime.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from foveal_runtime.store import Stats
    from foveal_runtime.store.schema import Collection

app = App(
    name="store",
    help="Look after an archive: a store folder or a postgresql:// URL.",
    help_epilogue="A folder that a running `foveal serve` uses is looked after through that server.",
)


@app.command
def stats(location: str, /, *, collection: str = "default", password: Password | None = None, json: Json = False) -> None:
    """Say what a collection holds.

    For example:
        foveal store stats /var/lib/foveal/store
        foveal store stats postgresql://foveal@db.example.org/foveal --json

    Args:
        location: store folder or postgresql:// URL.
        collection: its name.
        json: print one JSON document.
    """

    async def work() -> Stats:
        archive = await inspect(location, collection, password)
        try:
            return await archive.stats()
        finally:
            await archive.close()

    found = asyncio.run(work())
    if json:
        print_json(stats_document(found))
    else:
        sys.stdout.write(stats_text(found, width()))


@app.command
def check(
    location: str,
    /,
    *,
    collection: str = "default",
    sample: int = 50,
    k: int = 10,
    min_recall: Annotated[float, Parameter(name="--min-recall")] = 0.95,
    password: Password | None = None,
    json: Json = False,
) -> None:
    """Compare approximate with exact search on sampled live vectors; exit code 1 when too little is found.

    For example:
        foveal store check /var/lib/foveal/store
        foveal store check /var/lib/foveal/store --sample 200 --min-recall 0.98 --json

    Args:
        location: store folder or postgresql:// URL.
        collection: its name.
        sample: stored vectors searched for, of each kind.
        k: neighbours compared.
        min_recall: least mean recall of each kind.
        json: print one JSON document.
    """
    if not 1 <= sample <= 10_000 or not 1 <= k <= 1000 or not 0 <= min_recall <= 1:
        raise ConfigError("want --sample 1 to 10000, --k 1 to 1000, --min-recall 0 to 1")

    async def work() -> dict[str, Any]:
        from dataclasses import asdict

        from foveal_runtime.store import KINDS
        from foveal_runtime.store.recall import check_recall

        archive = await inspect(location, collection, password)
        try:
            document = stats_document(await archive.stats())
            found = [await check_recall(archive, kind=kind, sample=sample, k=k) for kind in KINDS]
            document["recall"] = {each.kind: asdict(each) for each in found if each is not None}
            return document
        finally:
            await archive.close()

    document = asyncio.run(work())
    if json:
        print_json(document)
    for kind, found in document["recall"].items():
        how = "exact" if found["exact"] else "HNSW"
        sys.stderr.write(
            f"{kind}: {document['counts'][kind]} vectors, recall@{k} {found['recall']:.4f} (worst {found['worst']:.2f}), {how},"
            f" p50 {found['search_p50_ms']:.1f} ms, exact {found['exact_p50_ms']:.1f} ms\n"
        )
    low = [kind for kind, found in document["recall"].items() if found["recall"] < min_recall]
    if low:
        raise CheckFailed(f"recall of {', '.join(low)} is below {min_recall:g}; raise ef_search, or REINDEX after many deletes")


@app.command
def index(location: str, /, *, collection: str = "default", password: Password | None = None, json: Json = False) -> None:
    """Build the indexes that are due now, while serving goes on. `foveal serve` does so by itself when it owns the tables.

    For example:
        foveal store index postgresql://admin@db.example.org/foveal

    Args:
        location: store folder or postgresql:// URL of the tables' owner.
        collection: its name.
        json: print one JSON document: what is indexed, and what the collection holds.
    """

    async def work() -> Stats:
        archive = await inspect(location, collection, password)
        try:
            await archive.build_indexes()
            return await archive.stats()
        finally:
            await archive.close()

    done = asyncio.run(work())
    if json:
        print_json(stats_document(done))
    indexed = [kind for kind, there in done.indexed.items() if there] or ["none: exact search is fast enough"]
    sys.stderr.write(f"indexed: {', '.join(indexed)}\n")


@app.command
def dump(location: str, target: Path, /, *, password: Password | None = None, json: Json = False) -> None:
    """Write all collections to a file in pg_dump's custom format, as of one moment, while serving goes on.

    For example:
        foveal store dump /var/lib/foveal/store backup-2026-11-23.dump

    Args:
        location: store folder or postgresql:// URL.
        target: a new file; it is readable for you alone.
        json: print one JSON document: the file and its bytes.
    """

    async def work() -> tuple[int, list[str]]:
        from foveal_runtime.store import backup, schema
        from foveal_runtime.store.database import Database

        database = await Database.open(location, options_for(location, password), attach=True)
        try:
            return await backup.dump(database, target), _key_ids(await database.as_owner(schema.all_collections))
        finally:
            await database.close()

    written, key_ids = asyncio.run(work())
    if json:
        print_json({"file": str(target), "bytes": written, "patient_keys": key_ids})
    sys.stderr.write(f"{target}: {written:,} bytes\n")
    if key_ids:
        sys.stderr.write(
            f"its patient references are keyed with key {', '.join(key_ids)}, which is not in it: keep the key's file "
            f"(patients.key in the store's folder, or --hash-patients) apart; without it no patient is found by reference\n"
        )


@app.command
def restore(location: str, source: Path, /, *, password: Password | None = None, json: Json = False) -> None:
    """Fill an empty store from a dump, all or nothing, bring its schema up to date, and build the indexes that are due.

    The file's rows are loaded; nothing that it says is run.

    For example:
        foveal store restore /var/lib/foveal/new-store backup-2026-11-23.dump

    Args:
        location: a new folder, or the URL of an empty database.
        source: a file that `foveal store dump` wrote, also the plain SQL of an older foveal.
        json: print one JSON document: the collections.
    """

    async def work() -> tuple[list[str], list[str]]:
        from foveal_runtime.store import Archive, backup, schema
        from foveal_runtime.store.database import Database

        options = options_for(location, password)
        database = await Database.open(location, options, attach=True)
        try:
            await backup.restore(database, source)
            found = await database.as_owner(schema.all_collections)
            for each in found:
                await Archive(database, each, options).build_indexes()
            return [each.name for each in found], _key_ids(found)
        finally:
            await database.close()

    collections, key_ids = asyncio.run(work())
    if json:
        print_json({"collections": collections, "patient_keys": key_ids})
    sys.stderr.write(f"restored: {', '.join(collections) or 'no collection'}\n")
    if key_ids:
        sys.stderr.write(
            f"serve it with the file of patient key {', '.join(key_ids)}: as patients.key in the store's folder, or by "
            "--hash-patients\n"
        )


def _key_ids(collections: list[Collection]) -> list[str]:
    """Keys with which collections' patient references are hashed."""
    return sorted({each.patient_key_id for each in collections if each.patient_key_id})


@app.command
def init(
    location: str,
    /,
    *,
    app_role: Annotated[str | None, Parameter(name="--app-role")] = None,
    password: Password | None = None,
    json: Json = False,
) -> None:
    """Prepare a database: pgvector, schema, and the rights of the role that `foveal serve` connects as.

    For example:
        foveal store init postgresql://admin@db.example.org/foveal --app-role foveal_app

    Args:
        location: URL of the database as its owner (or as a superuser, where pgvector is not there yet).
        app_role: an existing role; it may then read and write items and create collections, and nothing else.
        json: print one JSON document: the schema's version and the role.
    """

    async def work() -> None:
        from foveal_runtime.store.database import Database

        database = await Database.open(location, options_for(location, password), attach=True)
        try:
            if app_role is not None:
                await database.bring_up_to_date(app_role)
        finally:
            await database.close()

    asyncio.run(work())
    if json:
        from foveal_runtime.store.schema import SCHEMA_VERSION

        print_json({"schema_version": SCHEMA_VERSION, "app_role": app_role})
    sys.stderr.write("the schema is up to date\n")


app.command("foveal_runtime.cli.store_migrate:migrate", name="migrate")
app.command("foveal_runtime.cli.store_erase:erase", name="erase")
app.command("foveal_runtime.cli.store_hash_patients:hash_patients", name="hash-patients")
