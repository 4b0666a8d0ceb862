"""`foveal embed`: files, or a note or record alone, to a running server; vectors to stdout. Embeds nothing itself."""

from __future__ import annotations

import json as json_module
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from foveal_runtime.cli.asking import answered
from foveal_runtime.cli.client import Connection, Kind, Patient
from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.failures import report_failures
from foveal_runtime.cli.files import named_files, read_file, report_skipped
from foveal_runtime.cli.ray_flags import ArchiveOnRay
from foveal_runtime.cli.waiting import Patience
from foveal_runtime.errors import InputError

if TYPE_CHECKING:
    from foveal_runtime.study.photographs import Skipped
    from foveal_runtime.study.study import Study

_NO_FILE = Path("-")


def embed(
    files: list[Path] | None = None,
    /,
    *,
    kind: Annotated[list[Kind] | None, Parameter(negative=())] = None,
    patient: Patient | None = None,
    connection: Connection | None = None,
    cluster: ArchiveOnRay | None = None,
    json: Json = False,
) -> int:
    """Embed photographs, or a note or record without one, with a running server.

    Prints the unit vectors as JSON lines, or with --json as one list with an object per file: file, status, vectors by kind.
    A folder stands for every photograph in it and below it; what is left out (HEIC, hidden files, a server's thumbnails) is
    listed at the end on stderr. Exit code 2 when any file failed, 1 when the server went away before all were
    answered.

    For example:

        foveal embed left.jpg --kind image
        foveal embed --note "diabetic macular edema" --kind text --json
        foveal embed folder:/archive --ray --bundle bundle --out vectors

    Args:
        files: photographs, folders of them or study files (.json); none embeds the note or record alone. With --ray one
            folder, or a data set or Parquet as kind:path.
        kind: which vectors; may be repeated. Default joint.
        patient: note and record.
        connection: how to reach the server.
        cluster: see docs/deployment.md.
        json: print one JSON document.
    """
    if cluster is not None and cluster.wanted():
        return _on_ray(files or [], kind, cluster, json=json)
    from foveal_runtime.cli.output import embed_document
    from foveal_runtime.engine.answers import VectorKind
    from foveal_runtime.study.study import Study

    kinds = [VectorKind(name) for name in kind or ["joint"]]
    known, link = patient or Patient(), connection or Connection()
    record, patience = known.record(), Patience(link.timeout)

    def read(place: int, file: Path) -> Study:
        if file is _NO_FILE:
            return Study(note=known.note, record=record)
        return read_file(file, study_id=str(place), note=known.note, record=record)

    skipped: list[Skipped] = []
    found = named_files(files, skipped) if files else [_NO_FILE]
    rows, documents = [], []
    with link.open() as client:
        for each in answered(found, read, lambda studies: patience(lambda: client.embed(studies, kinds))):
            rows.append((each.file, each.answer))
            document = embed_document(each.file, each.answer, each.model)
            if json:
                documents.append(document)
            else:
                sys.stdout.write(json_module.dumps(document) + "\n")
    if json:
        print_json(documents)
    report_skipped(skipped)
    return report_failures(rows)


def _on_ray(files: list[Path], kind: list[Kind] | None, cluster: ArchiveOnRay, *, json: bool) -> int:
    from foveal_runtime.cli.archive_ray import Archive, embed_archive
    from foveal_runtime.cli.archive_spec import photographs_of
    from foveal_runtime.engine.answers import VectorKind

    if len(files) != 1:
        raise InputError(
            f"--ray embeds one archive, and {len(files)} were named; give a folder, or a data set or Parquet as kind:path"
        )
    archive = Archive(str(files[0]), partial(photographs_of, str(files[0]), None, own_patients=True, skip_bad=True))
    return embed_archive(archive, [VectorKind(name) for name in kind or ["joint"]], cluster, json=json)
