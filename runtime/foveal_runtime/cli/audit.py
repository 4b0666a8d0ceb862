"""`foveal audit …`: check, export and replay the audit trail of a server. Writes no trail."""

from __future__ import annotations

import json as json_format
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from foveal_runtime.cli.document import Json, print_json
from foveal_runtime.cli.files import named_files, report_skipped
from foveal_runtime.cli.progress import Progress
from foveal_runtime.errors import CheckFailed, FovealError, InputError
from foveal_runtime.study.photographs import read_photograph

if TYPE_CHECKING:
    from foveal_runtime.audit.chain import Place
    from foveal_runtime.audit.replay import Replayed
    from foveal_runtime.study.photographs import Skipped

app = App(name="audit", help="Check, export or replay the audit trail that `foveal serve --audit` writes.")

_WORTH_A_BAR = 2
"""Files from which on a bar says how far it is."""
_LISTED = 20
_HASH = re.compile(r"[0-9a-f]{64}")


@app.command
def verify(folder: Path, /, *, head: str | None = None, after: str | None = None, json: Json = False) -> None:
    """Check that no record of a trail was changed, removed or put in between; the exit code is the verdict.

    Exit code 0: the chain is whole. 1: it is not, and the first wrong record is named. A chain can't show that records at its
    end were taken away: note its head elsewhere now and then (this command prints it), and ask with --head whether it is still
    there. A server may be writing meanwhile. What a crash left of an unfinished record is said and is no fault: nobody got that
    answer.

    For example:

        foveal audit verify /var/lib/foveal/audit
        foveal audit verify /var/lib/foveal/audit --head 5f1c…

    Args:
        folder: of the trail.
        head: hash of a record that was noted before; it has to be in the trail still.
        after: hash of the record before the first one that is there, where older files were taken to an archive.
        json: print one JSON document: whole, records, first, head (sequence and hash), torn_bytes, error.
    """
    head, after = _hash("--head", head), _hash("--after", after)
    place, count, first, seen = _place(after), 0, 0, head is None or head == after
    error = ""
    try:
        for record in _records(folder, place):
            count += 1
            first = first or record["sequence"]
            seen = seen or record["hash"] == head
        if not seen:
            error = f"no record has the hash {head}: records were taken away since it was noted, or this is another trail"
    except CheckFailed as failed:
        error = str(failed)
    if json:
        where = {"sequence": place.sequence, "hash": place.hash}
        print_json(
            {
                "whole": not error,
                "records": count,
                "first": first,
                "head": where,
                "torn_bytes": place.torn_bytes,
                "error": error,
            }
        )
    if error:
        raise CheckFailed(error)
    if not json:
        torn = (
            f"; {place.torn_bytes} bytes of an unfinished record follow, which was never answered for"
            if place.torn_bytes
            else ""
        )
        sys.stdout.write(f"whole: {count} records{torn}\nhead: record {place.sequence}, {place.hash}\n")


@app.command
def export(
    folder: Path,
    /,
    *,
    format: Literal["jsonl", "fhir"] = "jsonl",
    out: Path | None = None,
    after: str | None = None,
    json: Json = False,
) -> None:
    """Print the records of a trail, its chain checked on the way; exit code 1 where it is broken, after what is whole.

    For example:

        foveal audit export /var/lib/foveal/audit > trail.jsonl
        foveal audit export /var/lib/foveal/audit --format fhir --out AuditEvent.ndjson

    Args:
        folder: of the trail.
        format: jsonl: the records as they are, one a line; fhir: an AuditEvent of FHIR R4 a line (NDJSON, as for bulk import).
        out: file to write; default: stdout.
        after: hash of the record before the first one that is there, where older files were taken to an archive.
        json: print one JSON document: with --out how many records were written, else a list of all of them.
    """
    from foveal_runtime.audit.fhir import audit_event

    place = _place(_hash("--after", after))
    found = (audit_event(record) if format == "fhir" else record for record in _records(folder, place))
    if json and out is None:
        print_json(list(found))
        return
    count = 0
    with nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8") as file:
        for each in found:
            file.write(json_format.dumps(each, separators=(",", ":")) + "\n")
            count += 1
    if json:
        print_json({"records": count, "out": str(out), "head": {"sequence": place.sequence, "hash": place.hash}})
    elif out is not None:
        sys.stdout.write(f"{count} records written to {out}\n")


@app.command
def replay(
    folder: Path, images: list[Path], /, *, bundle: Path, provider: str = "cpu", after: str | None = None, json: Json = False
) -> None:
    """Compute recorded answers again with the bundle that gave them, and list differences; exit code 1 where there are any.

    Photographs are found by the SHA-256 of their bytes. Grades, verdicts and referrals have to be the same, probabilities
    within the bundle's tolerance. The trail keeps no note and no record: only answers to photographs that came alone are
    computed again.

    For example:

        foveal audit replay /var/lib/foveal/audit /srv/photographs --bundle /srv/bundles/edge-int8

    Args:
        folder: of the trail.
        images: photographs, or folders of them.
        bundle: that was served; answers of others are counted and left alone.
        provider: cpu, openvino, cuda, tensorrt, tensorrt-rtx, or auto: as it was served.
        after: hash of the record before the first one that is there, where older files were taken to an archive.
        json: print one JSON document: counts, differences, photographs not found, photographs without a record.
    """
    from foveal_runtime.audit.replay import Replay
    from foveal_runtime.bundle.bundle import Bundle
    from foveal_runtime.engine.choice import resolve
    from foveal_runtime.engine.compiled import find_compiled

    place = _place(_hash("--after", after))
    opened = Bundle.open(bundle)
    skipped: list[Skipped] = []
    there = _hashed(named_files(images, skipped))
    chosen = resolve(provider, opened).provider
    compiled = find_compiled(opened, chosen.value)
    again = Replay(opened, chosen, lambda sha256: read_photograph(there[sha256]), there, compiled)
    total = sum(1 for _ in _records(folder, _place(after)))
    with Progress(total, "replaying", at_least=_WORTH_A_BAR) as advance:
        for record in _records(folder, place, bar=False):
            again.take(record)
            advance(1)
    found = again.end()
    report_skipped(skipped)
    if json:
        print_json(asdict(found))
    else:
        sys.stdout.write(_text(found, there))
    if found.differences:
        raise CheckFailed(
            f"{len(found.differences)} recorded values are not what {bundle} says now; "
            f"is this the provider, and the kind of machine, that served?"
        )


def _records(folder: Path, place: Place, *, bar: bool = True) -> Iterator[dict[str, Any]]:
    """The checked records of a trail, with a bar of its files."""
    from foveal_runtime.audit.chain import read_trail
    from foveal_runtime.audit.segments import segments

    begins = {segment.first for segment in segments(folder)}
    if not begins:
        raise InputError(f"{folder} holds no audit trail; name the folder that `foveal serve --audit` writes")
    with Progress(len(begins) if bar else 0, "checking files", at_least=_WORTH_A_BAR) as advance:
        for record in read_trail(folder, place):
            if bar and record["sequence"] in begins:
                advance(1)
            yield record


def _hash(flag: str, value: str | None) -> str | None:
    if value is not None and not _HASH.fullmatch(value.lower()):
        raise InputError(f"{flag} is no hash; give its 64 hexadecimal digits, as `foveal audit verify` prints them")
    return None if value is None else value.lower()


def _place(after: str | None) -> Place:
    from foveal_runtime.audit.chain import Place

    return Place() if after is None else Place(hash=after)


def _hashed(files: list[Path]) -> dict[str, Path]:
    """Files by the SHA-256 of their bytes; those that can't be read are named on stderr."""
    import hashlib

    found: dict[str, Path] = {}
    with Progress(len(files), "hashing photographs", at_least=_WORTH_A_BAR) as advance:
        for file in files:
            try:
                found[hashlib.sha256(read_photograph(file)).hexdigest()] = file
            except FovealError as error:
                sys.stderr.write(f"{file}: {error}\n")
            advance(1)
    return found


def _text(found: Replayed, there: dict[str, Path]) -> str:
    rows = [
        f"answers recorded              {found.answers}",
        f"computed again                {found.replayed}",
        f"differences                   {len(found.differences) or 'none'}",
        f"of another bundle             {found.other_bundle}",
        f"with a note or a record       {found.not_alone}",
        f"refused for the moment's sake {found.of_the_moment}",
        f"photographs not found         {len(found.not_found)}",
        f"photographs without a record  {len(found.without_record)}",
    ]
    rows += [f"  record {d.sequence}: {d.field} was {d.recorded}, is {d.now}" for d in found.differences]
    rows += [f"  not found: {sha256}" for sha256 in found.not_found[:_LISTED]]
    rows += [f"  without a record: {there[sha256]}" for sha256 in found.without_record[:_LISTED]]
    if max(len(found.not_found), len(found.without_record)) > _LISTED:
        rows.append("  … all of them with --json")
    return "\n".join(rows) + "\n"
