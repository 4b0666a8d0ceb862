"""Units of work of an archive: some photographs, or rows of a Parquet file, that one call embeds. Reads them; embeds nothing.

A unit is text (JSON), so that it travels to any node without a pickle. An input has a *source*, a name by which it is known
when the work is taken up again: the path of its file, or `FILE.parquet#ROW`.

Columns of a Parquet file: `image` (bytes of a photograph; needed), `note`, `age_years`, `sex`, `eye`, `diabetes_years`,
`insulin`, `diabetes`, and of an index also `patient`, `camera`, `site`, `acquired` and `icdr`. Others are not read.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from foveal_runtime.errors import FovealError, ImageError, InputError
from foveal_runtime.study.codes import BadCode, day, integer_code
from foveal_runtime.study.labels import GRADES
from foveal_runtime.study.photographs import read_photograph
from foveal_runtime.study.study import Eye, Record, Sex, Study
from foveal_runtime.study.synonyms import ICDR

STUDIES = 32
"""In one unit of files; of Parquet, the rows that are read at once."""
_RECORD = tuple(each.name for each in fields(Record))
FACTS = ("patient", "eye", "camera", "site", "acquired", "icdr")
"""What an index also keeps of an input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One study of an archive, its photograph still in its file."""

    source: str
    note: str | None = field(default=None, repr=False)
    record: Record | None = field(default=None, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of `FACTS`, as text and numbers of JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An input that was read, or what is wrong with it."""

    source: str
    study: Study | FovealError
    facts: Mapping[str, Any]


def of_files(inputs: Iterable[Input], done: Container[str]) -> Iterator[str]:
    """Units of files whose sources are not done."""
    part: list[Mapping[str, Any]] = []
    for each in inputs:
        if each.source in done:
            continue
        record = {} if each.record is None else {name: getattr(each.record, name) for name in _RECORD}
        known = {name: value for name, value in record.items() if value is not None}
        part.append({"source": each.source, "note": each.note, "record": known, "facts": dict(each.facts)})
        if len(part) == STUDIES:
            yield _unit(part)
            part = []
    if part:
        yield _unit(part)


def _unit(files: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps({"files": files, "inputs": len(files)})


def parquet_files(path: Path) -> list[Path]:
    """The file, or those below a folder.

    Raises:
        InputError: there is none.
    """
    found = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not found:
        raise InputError(f"{path} holds no Parquet file; name one, or a folder of them")
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """Rows of a Parquet file that are read together."""

    file: Path
    group: int
    first: int
    """Row of the file with which it begins."""
    rows: int


def row_groups(files: Sequence[Path]) -> list[RowGroup]:
    """All of these files.

    Raises:
        InputError: a file is no Parquet, or has no photographs.
    """
    import pyarrow as pa
    from pyarrow import parquet

    groups: list[RowGroup] = []
    for file in files:
        try:
            metadata, names = parquet.read_metadata(file), parquet.read_schema(file).names
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                f"{file} can't be read as Parquet ({type(error).__name__}); leave it out, or write it anew"
            ) from None
        if "image" not in names:
            raise InputError(f"{file} has no column 'image' with the bytes of photographs; it has {', '.join(names[:10])}")
        first = 0
        for group in range(metadata.num_row_groups):
            groups.append(RowGroup(file=file, group=group, first=first, rows=metadata.row_group(group).num_rows))
            first += groups[-1].rows
    return groups


def of_parquet(groups: Iterable[RowGroup], done: Container[str]) -> Iterator[str]:
    """A unit a row group, with the rows that are done left out."""
    for each in groups:
        skip = [row for row in range(each.rows) if row_source(each.file, each.first + row) in done]
        if left := each.rows - len(skip):
            place = {"parquet": str(each.file), "group": each.group, "first": each.first, "skip": skip}
            yield json.dumps({**place, "inputs": left})


def inputs_of(unit: str) -> int:
    """How many inputs a unit has."""
    return int(json.loads(unit)["inputs"])


def row_source(file: Path | str, row: int) -> str:
    """The source of a row."""
    return f"{file}#{row}"


def read(unit: str) -> Iterator[list[Loaded]]:
    """The inputs of a unit, some at a time. What is wrong with one is its own."""
    found = json.loads(unit)
    if "files" in found:
        yield [_of_file(each) for each in found["files"]]
    else:
        yield from _of_row_group(Path(found["parquet"]), found["group"], found["first"], frozenset(found["skip"]))


def _of_file(each: Mapping[str, Any]) -> Loaded:
    study: Study | FovealError
    try:
        study = Study(image=read_photograph(Path(each["source"])), note=each["note"], record=_record(each["record"]))
    except FovealError as error:
        study = error
    return Loaded(source=each["source"], study=study, facts=each["facts"])


def _of_row_group(file: Path, group: int, first: int, skip: frozenset[int]) -> Iterator[list[Loaded]]:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as opened:
        wanted = dict.fromkeys(("image", "note", *_RECORD, *FACTS))
        columns = [name for name in wanted if name in opened.schema_arrow.names]
        row = 0
        for batch in opened.iter_batches(batch_size=STUDIES, row_groups=[group], columns=columns):
            part = []
            for values in batch.to_pylist():
                if row not in skip:
                    part.append(_of_row(row_source(file, first + row), values))
                row += 1
            yield part


def _of_row(source: str, values: Mapping[str, Any]) -> Loaded:
    study: Study | FovealError
    facts: dict[str, Any] = {}
    try:
        if not isinstance(values["image"], bytes) or not values["image"]:
            raise ImageError("the row has no photograph; leave the row out, or write its bytes")
        known = {name: values[name] for name in _RECORD if values.get(name) is not None}
        study, facts = Study(image=values["image"], note=values.get("note"), record=_record(known)), _facts(values)
    except FovealError as error:
        study = error
    except BadCode as error:
        study = InputError(f"{error}; see the columns of Parquet archives")
    except (TypeError, ValueError):
        study = InputError("a column has a value of another kind than it should; see the columns of Parquet archives")
    return Loaded(source=source, study=study, facts=facts)


def _facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Raises:
    BadCode: a grade or a day that is none; neither is quoted.
    """
    facts = {name: str(values[name]) for name in FACTS if values.get(name) is not None}
    acquired = day("acquired", facts.pop("acquired", ""))
    icdr = integer_code("icdr", facts.pop("icdr", ""), range(GRADES), ICDR)
    known = {"acquired": acquired and acquired.isoformat(), "icdr": icdr}
    return facts | {name: value for name, value in known.items() if value is not None}


def _record(values: Mapping[str, Any]) -> Record | None:
    if not values:
        return None
    known: dict[str, Any] = dict(values)
    for name, word in (("sex", Sex), ("eye", Eye)):
        if name in known:
            known[name] = word(known[name])
    return Record(**known)
