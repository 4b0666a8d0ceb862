"""`foveal store migrate`: re-embed a collection with another bundle. The work is `store.reembed`'s and the engine's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.store_place import Password, inspect

if TYPE_CHECKING:
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.store.entry import Float32


def migrate(
    location: str,
    /,
    *,
    to: Path,
    collection: str = "default",
    images: Path | None = None,
    hash_patients: Path | None = None,
    provider: str = "cpu",
    password: Password | None = None,
    json: Json = False,
) -> None:
    """Re-embed a collection's photographs with another bundle, then switch to its space in one step.

    What has no photograph at hand stays, with all old vectors, in a collection whose name is printed.

    For example:
        foveal store migrate /var/lib/foveal/store --to runs/edge-2/bundle-int8 --images /data/photographs

    Args:
        location: store folder or postgresql:// URL of the tables' owner.
        to: the new bundle.
        collection: its name.
        images: folder that relative sources start from.
        hash_patients: file of the key of hashed references; default: patients.key in the store's folder.
        provider: cpu, openvino, cuda, tensorrt, tensorrt-rtx, or auto: the best that is there.
        json: print one JSON document.
    """
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.store.patients import PatientRefs
    from foveal_runtime.store.reembed import Migration
    from foveal_runtime.store.reembed import migrate as run_migration
    from foveal_runtime.store.references import key_of

    bundle = Bundle.open(to)
    embed = _embedder(bundle, provider)

    async def work() -> Migration:
        from rich.console import Console
        from rich.progress import Progress

        archive = await inspect(location, collection, password)
        try:
            key = key_of([archive.collection], location=location, named=hash_patients)
            with Progress(console=Console(stderr=True)) as progress:
                task = progress.add_task("re-embedding", total=await archive.count(kind="image"))
                return await run_migration(
                    archive,
                    space_id=bundle.manifest.space_id,
                    dim=bundle.manifest.embedding_dim,
                    precision=str(bundle.manifest.precision),
                    embed=embed,
                    images=images,
                    patients=None if key is None else PatientRefs(key),
                    progress=lambda count: progress.advance(task, count),
                )
        finally:
            await archive.close()

    done = asyncio.run(work())
    if json:
        print_json({"embedded": done.embedded, "left_behind": done.left_behind, "old_collection": done.old_collection})
    sys.stderr.write(
        f"{collection}: {done.embedded} photographs embedded again, {done.left_behind} vectors without one at hand;"
        f" the old vectors are in collection {done.old_collection}\n"
    )


def _embedder(bundle: Bundle, provider: str) -> Callable[[Sequence[bytes]], list[Float32 | None]]:
    """Photographs to their vectors; none for one that can't be read."""
    from foveal_runtime.engine.answers import Prepared, VectorKind
    from foveal_runtime.engine.choice import resolve
    from foveal_runtime.engine.engine import Engine
    from foveal_runtime.errors import StudyError
    from foveal_runtime.study.study import Study

    engine = Engine(bundle, provider=resolve(provider, bundle).provider)

    def embed(photographs: Sequence[bytes]) -> list[Float32 | None]:
        prepared: list[Prepared | None] = []
        for data in photographs:
            prepared.append(None)
            with suppress(StudyError):
                prepared[-1] = engine.prepare(Study(image=data))
        good = [each for each in prepared if each is not None]
        outcomes = iter(engine.run(good, kinds=frozenset({VectorKind.IMAGE}), grade=False))
        return [None if each is None else next(outcomes).vectors[VectorKind.IMAGE] for each in prepared]

    return embed
