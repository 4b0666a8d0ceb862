"""From `kind:path` to a data set. Chooses the reader and decides what bad rows mean; reads no table itself.

A spec may end in options, so that a run or a script that names the data set names how it is read as well:
`folder:photos?columns=map.toml&own-patients`. The commands' flags `--columns` and `--own-patients` write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_runtime.study.mapping import ColumnMap, Reading, read_map
from foveal_train.data import brset, deepeyenet, folder, idrid, mbrset
from foveal_train.data.sample import Dataset, refuse

_COLUMNS, _OWN = "columns=", "own-patients"


class Kind(StrEnum):
    """A data set that can be read; docs/datasets.md says how to get each."""

    BRSET = "brset"
    MBRSET = "mbrset"
    DEEPEYENET = "deepeyenet"
    IDRID = "idrid"
    FOLDER = "folder"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A data set's name, taken apart."""

    kind: Kind
    path: Path
    columns: Path | None = None
    """Mapping file."""
    own_patients: bool = False

    def __str__(self) -> str:
        options = ([f"{_COLUMNS}{self.columns}"] if self.columns else []) + ([_OWN] if self.own_patients else [])
        return f"{self.kind.value}:{self.path}" + (f"?{'&'.join(options)}" if options else "")


def _reader(kind: Kind) -> Callable[[Path, str, Reading], Dataset]:
    readers: dict[Kind, Callable[[Path, str, Reading], Dataset]] = {
        Kind.BRSET: brset.read,
        Kind.MBRSET: mbrset.read,
        Kind.DEEPEYENET: deepeyenet.read,
        Kind.IDRID: idrid.read,
        Kind.FOLDER: folder.read,
    }
    return readers[kind]


def parse_spec(spec: str) -> Spec:
    """Split `kind:path` and its options.

    Raises:
        DataError: unknown kind or option, or no path.
    """
    name, colon, rest = spec.partition(":")
    try:
        kind = Kind(name.strip().lower())
    except ValueError:
        known = ", ".join(f"{k.value}:PATH" for k in Kind)
        raise DataError(f"data set {spec!r} names no kind that is read; write one of {known}") from None
    # A folder's name may hold a question mark.
    place, mark, options = rest.rpartition("?")
    if not mark or not options.startswith((_COLUMNS, _OWN)):
        place, options = rest, ""
    if not colon or not place.strip():
        raise DataError(f"data set {spec!r} has no path; write {kind.value}:PATH")
    columns, own = None, False
    for option in filter(None, options.split("&")):
        if option == _OWN:
            own = True
        elif option.startswith(_COLUMNS):
            columns = Path(option.removeprefix(_COLUMNS)).expanduser()
        else:
            raise DataError(f"data set {spec!r} has the option {option!r}; known are {_COLUMNS}FILE and {_OWN}")
    return Spec(kind=kind, path=Path(place.strip()).expanduser(), columns=columns, own_patients=own)


def with_options(spec: str, *, columns: Path | None = None, own_patients: bool = False, absolute: bool = False) -> str:
    """The spec with a command's flags written into it.

    Args:
        spec: `kind:path`, options or not.
        columns: mapping file; None keeps the spec's own.
        own_patients: see `Reading`.
        absolute: paths as they are from the root, so that the spec means the same in any folder.

    Raises:
        DataError: see `parse_spec`.
    """
    found = parse_spec(spec)
    found = replace(found, columns=columns or found.columns, own_patients=own_patients or found.own_patients)
    if absolute:
        mapping = None if found.columns is None else found.columns.absolute()
        found = replace(found, path=found.path.absolute(), columns=mapping)
    return str(found)


def load(spec: str, *, skip_bad: bool = False) -> Dataset:
    """Read a data set.

    Args:
        spec: `kind:path`, for example `idrid:/data/idrid`, and its options.
        skip_bad: leave unusable rows out and keep them in `Dataset.problems`; by default they are refused.

    Raises:
        DataError: unknown kind, missing path, file or column; unusable rows, all listed, unless `skip_bad`; no sample at all.
    """
    found = parse_spec(spec)
    if not found.path.exists():
        raise DataError(f"data set path {found.path} does not exist; check the path after {found.kind.value}:")
    mapping = ColumnMap() if found.columns is None else read_map(found.columns)
    dataset = _reader(found.kind)(found.path, spec, Reading(columns=mapping, own_patients=found.own_patients))
    if dataset.problems and not (skip_bad and dataset.samples):
        raise refuse(spec, list(dataset.problems))
    if not dataset.samples:
        raise DataError(f"{spec} has no usable sample; check that it is the right folder")
    return replace(dataset, problems=tuple(sorted(dataset.problems, key=lambda p: p.row)))
