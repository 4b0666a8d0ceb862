"""`foveal index` and `foveal search`: fill a server's archive from a folder, and ask it. Stores nothing itself."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from foveal_runtime.cli.client import Connection, Json, Patient, print_json, read_photograph
from foveal_runtime.errors import FovealError, ImageError, InputError

if TYPE_CHECKING:
    from foveal_runtime.client import Client
    from foveal_runtime.study import Record

Kind = Literal["joint", "image", "text", "structured"]

_KNOWN_AT_ONCE = 500
"""Ids asked for in one call when looking for what is already stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Photograph:
    """One thing to index."""

    path: Path
    patient: str
    note: str | None
    record: Record | None
    icdr: int | None
    camera: str


def index(
    source: str,
    /,
    *,
    kind: Annotated[list[Kind] | None, Parameter(negative=())] = None,
    site: str = "",
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    connection: Connection | None = None,
    json: Json = False,
) -> int:
    """Embed the photographs of a folder or data set and store them in the archive of a running server.

    A photograph's id is the SHA-256 of its bytes: a second run, or one after a break, sends only what is new.
    Exit code 2 when any photograph failed; the others are stored all the same.

    For example:

        foveal index ./photographs
        foveal index folder:./clinic/photographs.csv --site north
        foveal index brset:/data/brset --kind image --kind text

    Args:
        source: a folder (or its CSV), or a data set as kind:path.
        kind: vectors to store; may be repeated. Default image and joint.
        site: stored with every photograph, to filter by.
        skip_bad: index the rest of a data set that has unusable rows.
        connection: how to reach the server.
        json: print one JSON document with the counts.
    """
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.engine import VectorKind
    from foveal_runtime.messages import KIND_TO
    from foveal_runtime.status import error_of

    photographs = _photographs(source, skip_bad=skip_bad)
    kinds = [KIND_TO[VectorKind(name)] for name in kind or ["image", "joint"]]
    stored = known = 0
    failures: dict[str, FovealError] = {}
    path_of: dict[str, Path] = {}
    with (connection or Connection()).open() as client, _progress(len(photographs)) as advance:
        client.stats()  # says in one line when there is no server or no archive, before any photograph is read

        def requests() -> Iterator[Any]:
            nonlocal known
            for part in _in_parts(photographs, _KNOWN_AT_ONCE):
                digests: dict[str, _Photograph] = {}
                for photograph in part:
                    try:
                        digests[hashlib.sha256(read_photograph(photograph.path)).hexdigest()] = photograph
                    except ImageError as error:
                        failures[str(photograph.path)] = error
                have = _stored_kinds(client, list(digests))
                for digest, photograph in digests.items():
                    path_of[digest] = photograph.path
                    if set(kinds) <= have.get(digest, set()):
                        known += 1
                        advance(1)
                        continue
                    yield archive_pb2.UpsertStreamRequest(entry=_entry(digest, photograph, site), kinds=kinds)

        for result in client.upsert_stream(requests()):
            if result.WhichOneof("outcome") == "error":
                failures[str(path_of.get(result.id, result.id))] = error_of(result.error)
            else:
                stored += 1
            advance(1)
    for path, error in sorted(failures.items()):
        sys.stderr.write(f"error: {path}: {error}\n")
    summary = {"photographs": len(photographs), "stored": stored, "already_stored": known, "failed": len(failures)}
    if json:
        print_json({**summary, "failures": {path: str(error) for path, error in failures.items()}})
    else:
        sys.stdout.write(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in summary.items()) + "\n")
    return 2 if failures else 0


def search(
    text: str | None = None,
    /,
    *,
    image: Path | None = None,
    like: str | None = None,
    k: int = 10,
    filter_: Annotated[list[str] | None, Parameter(name="--filter", negative=())] = None,
    target: Kind | None = None,
    exact: Annotated[bool, Parameter(negative=())] = False,
    patient: Patient | None = None,
    connection: Connection | None = None,
    json: Json = False,
) -> int:
    """Find stored photographs that are like a text, a photograph, or a stored one.

    A text or a photograph alone is compared with the stored photographs' image vectors; both together, or with a record, make
    a joint vector that is compared with joint ones.

    For example:

        foveal search "diabetic macular edema"
        foveal search --image left.jpg --k 5 --filter eye=left --filter icdr=2 --json
        foveal search --like 9f86d081884c7d65 --filter site=north

    Args:
        text: what to look for, in the words of a note.
        image: a photograph.
        like: id of a stored photograph.
        k: results wanted.
        filter_: eye, patient, camera, site, source, icdr, referable or attr.NAME, as key=value; may be repeated, all must hold.
        target: which stored vectors to compare with.
        exact: compare with all of them, however many.
        patient: note and record of the query.
        connection: how to reach the server.
        json: print one JSON document.
    """
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.cli.output import kind_name
    from foveal_runtime.engine import VectorKind
    from foveal_runtime.messages import KIND_TO, study_to
    from foveal_runtime.study import Study

    known = patient or Patient()
    if text is not None and known.note is not None:
        raise InputError("the text was given twice, by itself and with --note; give it once")
    study = Study(
        image=_photograph_bytes(image) if image is not None else None,
        note=text if text is not None else known.note,
        record=known.record(),
    )
    if (like is None) == (not study.modalities):
        raise InputError("give something to look for: a text, --image FILE, or --like ID; --like goes alone")
    request = (
        archive_pb2.SearchRequest(k=k, exact=exact, id=like)
        if like is not None
        else archive_pb2.SearchRequest(k=k, exact=exact, study=study_to(study))
    )
    if target is not None:
        request.target_kind = KIND_TO[VectorKind(target)]
        if like is not None:
            request.query_kind = request.target_kind
    if filter_:
        request.filter.all.filters.extend(_filter(term) for term in filter_)
    with (connection or Connection()).open() as client:
        response = client.search(request)
    if json:
        print_json(
            {
                "query_kind": kind_name(response.query_kind),
                "target_kind": kind_name(response.target_kind),
                "exact": response.exact,
                "hits": [_hit_document(hit) for hit in response.hits],
            }
        )
        return 0
    if not response.hits:
        sys.stdout.write("nothing stored fits\n")
    for place, hit in enumerate(response.hits, 1):
        facts = hit.entry.facts
        grade = f"  ICDR {facts.icdr}" if facts.HasField("icdr") else ""
        sys.stdout.write(f"{place:4d}  {hit.score:.4f}  {facts.source or facts.id}{grade}\n")
    return 0


def _photograph_bytes(path: Path) -> bytes:
    try:
        return read_photograph(path)
    except ImageError as error:
        raise InputError(f"{path}: {error}") from None


def _photographs(source: str, *, skip_bad: bool) -> list[_Photograph]:
    kind, colon, rest = source.partition(":")
    path = Path(rest if colon and kind == "folder" else source).expanduser()
    if path.exists() or kind == "folder" or not colon:
        from foveal_runtime.folder import read_folder

        folder = read_folder(path)
        if folder.bad_rows and not skip_bad:
            first = folder.bad_rows[0]
            raise InputError(
                f"{source} has {len(folder.bad_rows)} unusable rows, the first in line {first.row} ({first.what}); "
                f"mend them, or add --skip-bad"
            )
        return [
            _Photograph(path=r.image_path, patient=r.patient_id, note=r.note, record=r.record, icdr=r.icdr, camera=r.camera)
            for r in folder.rows
        ]
    from foveal_runtime.cli.rooms import import_room

    dataset = import_room("foveal_train.data.source", extra="train").load(source, skip_bad=skip_bad)
    return [
        _Photograph(
            path=s.image_path,
            patient=s.patient_id,
            note=s.note or None,
            record=s.record,
            icdr=s.labels.icdr,
            camera=s.camera,
        )
        for s in dataset.samples
        if s.image_path is not None
    ]


def _entry(digest: str, photograph: _Photograph, site: str) -> Any:
    from foveal_runtime._proto import archive_pb2
    from foveal_runtime.messages import EYE_TO, study_to
    from foveal_runtime.study import Study

    record = photograph.record
    facts = archive_pb2.Facts(
        id=digest,
        patient=photograph.patient,
        eye=EYE_TO[record.eye if record is not None else None],
        camera=photograph.camera,
        site=site,
        icdr=photograph.icdr,
        source=str(photograph.path.resolve()),
    )
    study = Study(image=read_photograph(photograph.path), note=photograph.note, record=record)
    return archive_pb2.Entry(facts=facts, study=study_to(study))


def _stored_kinds(client: Client, ids: list[str]) -> dict[str, set[Any]]:
    from foveal_runtime._proto import archive_pb2

    if not ids:
        return {}
    have: dict[str, set[Any]] = {}
    for entry in client.get(archive_pb2.GetRequest(ids=ids)).entries:
        have.setdefault(entry.facts.id, set()).add(entry.kind)
    return have


def _filter(term: str) -> Any:
    from foveal_runtime._proto import archive_pb2

    key, found, value = term.partition("=")
    if not found:
        raise InputError(f"--filter {term!r} has no '='; write key=value")
    texts = ("id", "patient", "eye", "camera", "site", "precision", "source")
    if key in texts:
        fact = archive_pb2.FactIn(fact=archive_pb2.Fact.Value(f"FACT_{key.upper()}"), values=[value])
        return archive_pb2.Filter(fact=fact)
    if key == "icdr":
        if not value.isdigit():
            raise InputError(f"--filter {term!r}: an ICDR grade is 0 to 4")
        return archive_pb2.Filter(icdr=archive_pb2.GradeRange(at_least=int(value), at_most=int(value)))
    if key == "referable":
        if value not in ("true", "false"):
            raise InputError(f"--filter {term!r}: write referable=true or referable=false")
        return archive_pb2.Filter(referable=value == "true")
    if key.startswith("attr."):
        return archive_pb2.Filter(attribute=archive_pb2.AttributeEquals(key=key.removeprefix("attr."), value=value))
    raise InputError(f"--filter {term!r} names nothing that is stored; use {', '.join(texts)}, icdr, referable or attr.NAME")


def _hit_document(hit: Any) -> dict[str, Any]:
    from foveal_runtime._proto import study_pb2

    facts = hit.entry.facts
    return {
        "id": facts.id,
        "score": hit.score,
        "source": facts.source,
        "patient": facts.patient,
        "eye": study_pb2.Eye.Name(facts.eye).removeprefix("EYE_").lower() if facts.eye else None,
        "camera": facts.camera,
        "site": facts.site,
        "icdr": facts.icdr if facts.HasField("icdr") else None,
        "attributes": dict(facts.attributes),
    }


def _in_parts(items: Iterable[_Photograph], size: int) -> Iterator[list[_Photograph]]:
    part: list[_Photograph] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


class _progress:  # noqa: N801 - used as a function
    """A progress bar on stderr, where it is a terminal."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._total = total

    def __enter__(self) -> Any:
        self._bar.start()
        task = self._bar.add_task("indexing", total=self._total)
        return lambda steps: self._bar.advance(task, steps)

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()
