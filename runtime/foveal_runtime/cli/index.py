"""`foveal index`: fill a server's archive from a folder or data set. Embeds and stores nothing itself."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from foveal_runtime.cli.archive_spec import Photograph, photographs_of
from foveal_runtime.cli.client import Connection, Kind
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.files import report_skipped
from foveal_runtime.cli.layout import printable
from foveal_runtime.cli.progress import Progress
from foveal_runtime.cli.ray_flags import ArchiveOnRay
from foveal_runtime.cli.study_file import is_text
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import FovealError, ImageError, InputError
from foveal_runtime.study.photographs import read_photograph

if TYPE_CHECKING:
    from foveal_runtime.client import Client
    from foveal_runtime.study.photographs import Skipped
    from foveal_runtime.study.study import Subset

_KNOWN_AT_ONCE = 500
"""Ids asked for in one call when looking for what is already stored."""


def index(
    source: str,
    /,
    *,
    kind: Annotated[list[Kind] | None, Parameter(negative=())] = None,
    site: str = "",
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    columns: Path | None = None,
    own_patients: Annotated[bool, Parameter(negative=())] = False,
    connection: Connection | None = None,
    cluster: ArchiveOnRay | None = None,
    json: Json = False,
) -> int:
    """Embed the photographs of a folder or data set and store them in the archive of a running server.

    A photograph's id is the SHA-256 of its bytes: a second run, or one after a break, sends only what is new.
    Exit code 2 when any photograph failed; the others are stored all the same.

    For example:

        foveal index ./photographs
        foveal index folder:./clinic/photographs.csv --site north
        foveal index brset:/data/brset --kind image --kind text
        foveal index parquet:/archive --ray --bundle bundle --out vectors --ray-address head:6379

    Args:
        source: a folder (or its CSV), or a data set as kind:path; with --ray also parquet:PATH (docs/deployment.md).
        kind: vectors to store; may be repeated. Default image and joint.
        site: stored with every photograph whose row names none, to filter by.
        skip_bad: index the rest of a data set that has unusable rows.
        columns: mapping file (TOML): what the table's own columns and words mean (docs/datasets.md).
        own_patients: let a row without a patient be a patient of its own instead of an unusable row.
        connection: how to reach the server.
        cluster: see docs/deployment.md.
        json: print one JSON document with the counts.
    """
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.rpc.messages import KIND_TO
    from foveal_runtime.rpc.status import error_of

    kinds, link = [VectorKind(name) for name in kind or ["image", "joint"]], connection or Connection()
    read = partial(photographs_of, source, columns, own_patients=own_patients, skip_bad=skip_bad)
    if cluster is not None and cluster.wanted():
        from foveal_runtime.cli.archive_ray import Archive, embed_archive

        return embed_archive(Archive(source, read), kinds, cluster, json=json, connection=link, site=site)
    photographs, skipped = read()
    stored = known = 0
    failures, path_of = dict[str, FovealError](), dict[str, Path]()
    with link.open() as client, Progress(len(photographs), "indexing", lines=True) as advance:
        # Says in one line when there is no server or no archive, before any photograph is read.
        Patience(link.timeout)(client.stats)
        trained = _trained(client)

        def requests() -> Iterator[Any]:
            nonlocal known
            for part in _in_parts(photographs, _KNOWN_AT_ONCE):
                digests, copies = _digests(part, failures, path_of)
                known += copies
                advance(copies)
                have = _stored_kinds(client, list(digests))
                for digest, photograph in digests.items():
                    path_of[digest] = photograph.path
                    if {KIND_TO[each] for each in kinds if photograph.allows(each)} <= have.get(digest, set()):
                        known += 1
                        advance(1)
                        continue
                    try:
                        entry = _entry(digest, photograph, site, trained)
                    except InputError as error:
                        failures[str(photograph.path)] = error
                        continue
                    yield archive_pb2.UpsertStreamRequest(entry=entry, kinds=[KIND_TO[each] for each in kinds])

        for result in client.upsert_stream(requests()):
            if result.WhichOneof("outcome") == "error":
                failures[str(path_of.get(result.id, result.id))] = error_of(result.error)
            else:
                stored += 1
            advance(1)
    counts = {"photographs": len(photographs), "stored": stored, "already_stored": known, "failed": len(failures)}
    return _print_summary(counts, failures, skipped, json=json)


def _print_summary(counts: dict[str, int], failures: dict[str, FovealError], skipped: Sequence[Skipped], *, json: bool) -> int:
    report_skipped(skipped)
    for path, error in sorted(failures.items()):
        sys.stderr.write(f"error: {printable(path)}: {error}\n")
    if json:
        said = {path: str(error) for path, error in failures.items()}
        print_json({**counts, "failures": said, "skipped": {str(each.path): each.why for each in skipped}})
    else:
        sys.stdout.write(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items()) + "\n")
    return 2 if failures else 0


def _trained(client: Client) -> list[Subset]:
    """The subsets with a photograph that the served model was trained for, largest first; one that knows photographs alone
    could not embed one whose row has an age or an eye as well. Those facts are stored all the same."""
    from foveal_runtime.study.study import Modality, photograph_subsets

    chosen = photograph_subsets(client.model().trained_subsets)
    left_out = [each for each in Modality if chosen and each not in chosen[0]]
    if left_out:
        kept = " and ".join(each for each in Modality if each in chosen[0] and each is not Modality.IMAGE)
        rest = f"the photographs and {kept}" if kept else "the photographs alone"
        sys.stderr.write(f"the served model was not trained on {' and '.join(left_out)}: vectors are of {rest}\n")
    return chosen


def _digests(
    part: list[Photograph], failures: dict[str, FovealError], seen: Container[str]
) -> tuple[dict[str, Photograph], int]:
    """New photographs by SHA-256, and how many are copies of one before: those are one entry.

    Args:
        part: to be read.
        failures: told of those that can't be.
        seen: digests of this run's earlier ones.
    """
    digests: dict[str, Photograph] = {}
    copies = 0
    for photograph in part:
        try:
            digest = hashlib.sha256(read_photograph(photograph.path)).hexdigest()
        except ImageError as error:
            failures[str(photograph.path)] = error
            continue
        if digest in digests or digest in seen:
            copies += 1
        else:
            digests[digest] = photograph
    return digests, copies


def _entry(digest: str, photograph: Photograph, site: str, trained: list[Subset]) -> Any:
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.rpc.archive_messages import facts_to
    from foveal_runtime.rpc.messages import study_to
    from foveal_runtime.store.entry import Facts
    from foveal_runtime.study.labels import is_referable
    from foveal_runtime.study.study import Study

    record, icdr, source = photograph.record, photograph.icdr, str(photograph.path.resolve())
    if not is_text(source):
        raise InputError("its name, or a folder's above it, holds bytes that are no UTF-8; rename it")
    facts = Facts(
        id=digest,
        patient=photograph.patient,
        eye=record.eye.value if record is not None and record.eye is not None else "",
        camera=photograph.camera,
        site=photograph.site or site,
        acquired=photograph.acquired,
        icdr=icdr,
        referable=is_referable(icdr),
        source=source,
    )
    image = read_photograph(photograph.path)
    if hashlib.sha256(image).hexdigest() != digest:
        raise ImageError("it changed while it was being indexed; index again")
    study = Study(image=image, note=photograph.note, record=record)
    return archive_pb2.Entry(facts=facts_to(facts), study=study_to(study.within(trained)))


def _stored_kinds(client: Client, ids: list[str]) -> dict[str, set[Any]]:
    from foveal_runtime._proto import archive_pb2

    if not ids:
        return {}
    return {entry.facts.id: set(entry.kinds) for entry in client.get_all(archive_pb2.GetRequest(ids=ids))}


def _in_parts(items: Iterable[Photograph], size: int) -> Iterator[list[Photograph]]:
    part: list[Photograph] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
