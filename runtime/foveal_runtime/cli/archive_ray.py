"""`foveal embed SPEC --ray` and `foveal index SPEC --ray`: an archive on a Ray cluster. The work is `cluster`'s."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.archive_store import Stored
from foveal_runtime.cli.document import print_json
from foveal_runtime.cli.files import report_skipped
from foveal_runtime.cli.layout import printable
from foveal_runtime.cli.progress import Progress
from foveal_runtime.cluster.embedder import EmbedPlan
from foveal_runtime.cluster.ledger import FAILURES, VECTORS, Ledger, rows_of
from foveal_runtime.cluster.pipeline import Done, embed, nodes_of
from foveal_runtime.cluster.session import connected
from foveal_runtime.cluster.units import Input, RowGroup, of_files, of_parquet, parquet_files, row_groups
from foveal_runtime.serving.config import ServeConfig

if TYPE_CHECKING:
    from collections.abc import Container

    from foveal_runtime.cli.archive_spec import Photograph
    from foveal_runtime.cli.client import Connection
    from foveal_runtime.cli.ray_flags import ArchiveOnRay
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.study.photographs import Skipped

PARQUET = "parquet:"
"""Begins a SPEC of Parquet files."""
_LISTED = 20


class Archive:
    """The inputs of a SPEC, as units."""

    def __init__(self, source: str, photographs: Callable[[], tuple[list[Photograph], tuple[Skipped, ...]]]) -> None:
        """Args:
        source: as it was given.
        photographs: what a folder or data set holds, and what of it is left out.
        """
        self.source = source
        self.skipped: tuple[Skipped, ...] = ()
        self._groups: list[RowGroup] = []
        self._inputs: list[Input] = []
        if source.startswith(PARQUET):
            self._groups = row_groups(parquet_files(Path(source.removeprefix(PARQUET)).expanduser().resolve()))
        else:
            found, self.skipped = photographs()
            self._inputs = [_input(each) for each in found]
        self.size = len(self._inputs) + sum(each.rows for each in self._groups)

    def units(self, done: Container[str]) -> list[str]:
        """Of the inputs that are not done."""
        return [*of_files(self._inputs, done), *of_parquet(self._groups, done)]


def _input(each: Photograph) -> Input:
    facts = {
        "patient": each.patient,
        "eye": "" if each.record is None or each.record.eye is None else each.record.eye.value,
        "camera": each.camera,
        "site": each.site,
        "acquired": "" if each.acquired is None else each.acquired.isoformat(),
        "icdr": each.icdr,
    }
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    return Input(source=str(each.path.resolve()), note=each.note, record=each.record, facts=known)


def embed_archive(
    archive: Archive,
    kinds: Sequence[VectorKind],
    flags: ArchiveOnRay,
    *,
    json: bool,
    connection: Connection | None = None,
    site: str = "",
) -> int:
    """Embed what is not embedded yet; the exit code.

    Args:
        archive: its inputs.
        kinds: of vectors.
        flags: checked.
        json: print one JSON document.
        connection: of the server whose archive is filled; None fills none.
        site: stored with every photograph that names none.

    Raises:
        FovealError: the bundle, the folder, the cluster or the server can't be used.
    """
    assert flags.bundle is not None
    assert flags.out is not None
    opened = Bundle.open(flags.bundle.resolve())
    config = ServeConfig(
        bundle=opened.path, allow_unverified=flags.allow_unverified, allow_untrained=flags.allow_untrained, self_test_every_s=0
    )
    names = [kind.value for kind in kinds]
    about = {
        "source": archive.source,
        "kinds": names,
        "bundle_sha256": opened.sha256,
        "space_id": opened.manifest.space_id,
        "grades": sorted(config.given),
    }
    with (
        Ledger(flags.out, about, names, facts=connection is not None) as ledger,
        Stored(connection, opened.manifest.space_id, site) as stored,
    ):
        for part in ledger.parts(VECTORS) if stored.wanted else ():
            stored.part(part)  # an earlier run may have ended between a part and its entries
        done = _done(archive, opened, config, kinds, flags, ledger, stored.part)
    return _print_summary(archive, done, stored, ledger, json=json)


def _done(
    archive: Archive,
    opened: Bundle,
    config: ServeConfig,
    kinds: Sequence[VectorKind],
    flags: ArchiveOnRay,
    ledger: Ledger,
    kept: Callable[[Path], None],
) -> Done:
    if not archive.units(ledger.done):
        return Done(embedded=0, failed=0, before=len(ledger.done), unanswered=0)
    with connected(flags.ray_address or "") as ray, Progress(archive.size, "embedding", lines=True) as advance:
        cpus = flags.node_cpus or int(min(nodes_of(ray), default=1))
        plan = EmbedPlan(config=config, bundle_sha256=opened.sha256, cpus=cpus, kinds=tuple(kinds))
        advance(len(ledger.done))
        return embed(ray, plan, archive.units, ledger, progress=advance, kept=kept)


def _print_summary(archive: Archive, done: Done, stored: Stored, ledger: Ledger, *, json: bool) -> int:
    out = ledger.folder
    report_skipped(archive.skipped)
    failures = [row for part in ledger.parts(FAILURES) for row in rows_of(part)]
    for row in failures[:_LISTED]:
        sys.stderr.write(f"error: {printable(row['source'])}: {row['message']}\n")
    if len(failures) > _LISTED:
        sys.stderr.write(f"error: {len(failures) - _LISTED} more are in {out / FAILURES}\n")
    if done.unanswered:
        sys.stderr.write(
            f"error: {done.unanswered} have no answer, since workers were lost over them; give the command again\n"
        )
    counts: dict[str, Any] = {
        "inputs": archive.size,
        "embedded": done.embedded,
        "already_done": done.before,
        "failed": len(failures),
        "unanswered": done.unanswered,
        **({"stored": stored.count} if stored.wanted else {}),
    }
    if json:
        print_json({**counts, "out": str(out), "skipped": {str(each.path): each.why for each in archive.skipped}})
    else:
        sys.stdout.write(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) + f"; {out}\n")
    return 1 if done.unanswered else 2 if failures or stored.refused else 0
