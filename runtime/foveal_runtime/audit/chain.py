"""Read a trail and check its chain. Writes nothing; a server may be writing meanwhile.

Every record has to hold the hash of its content and of the record before it, and the next number. What follows the last
whole record of the last segment is *torn*: the writer was cut off in the middle of a record, which was then never answered for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal_runtime.audit.record import FIRST, RecordError, unseal
from foveal_runtime.audit.segments import Segment, segments
from foveal_runtime.errors import CheckFailed


@dataclass(slots=True)
class Place:
    """Where in a chain one stands."""

    sequence: int = 0
    """Of the last record; 0 before the first."""
    hash: str = FIRST
    torn_bytes: int = 0
    """After the last whole record of the last segment."""


def read_trail(folder: Path, place: Place | None = None) -> Iterator[dict[str, Any]]:
    """Every record from the first segment that is there on, checked as it is given.

    Args:
        folder: of the trail.
        place: filled with where the reading has come to; its hash is that of the record before the first one that is there.

    Raises:
        CheckFailed: names the first record that is wrong.
        InputError: no such folder.
    """
    place = Place() if place is None else place
    found = segments(folder)
    if found and place.sequence == 0 and place.hash != FIRST:
        place.sequence = found[0].first - 1
    for segment in found:
        yield from read_segment(segment, place, last=segment is found[-1])


def read_segment(segment: Segment, place: Place, *, last: bool) -> Iterator[dict[str, Any]]:
    """The records of one segment.

    Args:
        segment: to read.
        place: where the chain stands before it, moved on with each record.
        last: no segment follows: its end may be torn.

    Raises:
        CheckFailed: see `read_trail`.
    """
    if segment.first != place.sequence + 1:
        raise CheckFailed(
            f"records {place.sequence + 1} to {segment.first - 1} are missing: {segment.path.name} follows "
            f"record {place.sequence}; put back what is gone, or give the hash of record {segment.first - 1} with --after"
        )
    for number, line in enumerate(segment.lines(), 1):
        if place.torn_bytes:
            raise _wrong(segment, number - 1, place, "it is no whole record, and others follow it")
        if last and (not line.endswith(b"\n") or b"\0" in line):
            # A line without an end, or blocks that the file system had promised and a power cut left empty.
            place.torn_bytes = len(line)
            continue
        try:
            record = unseal(line.removesuffix(b"\n"))
        except RecordError as error:
            raise _wrong(segment, number, place, str(error)) from None
        if record["sequence"] != place.sequence + 1:
            raise _wrong(segment, number, place, f"it says that it is record {record['sequence']}")
        if record.get("previous") != place.hash:
            raise _wrong(segment, number, place, "it does not hold the hash of the record before it")
        place.sequence, place.hash = record["sequence"], str(record["hash"])
        yield record


def _wrong(segment: Segment, line: int, place: Place, why: str) -> CheckFailed:
    return CheckFailed(
        f"record {place.sequence + 1} is wrong ({segment.path.name}, line {line}): {why}. What stands before it is whole; "
        f"keep the folder as it is for whoever looks into this, and give the server another one with --audit"
    )
