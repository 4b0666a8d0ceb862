"""From `kind:path` to a data set. Chooses the reader and decides what bad rows mean; reads no table itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from foveal_runtime.errors import DataError
from foveal_train.data import brset, deepeyenet, folder, idrid, mbrset
from foveal_train.data.sample import Dataset, refuse


class Kind(StrEnum):
    """A data set that can be read; docs/datasets.md says how to get each."""

    BRSET = "brset"
    MBRSET = "mbrset"
    DEEPEYENET = "deepeyenet"
    IDRID = "idrid"
    FOLDER = "folder"


def _reader(kind: Kind) -> Callable[[Path, str], Dataset]:
    readers: dict[Kind, Callable[[Path, str], Dataset]] = {
        Kind.BRSET: brset.read,
        Kind.MBRSET: mbrset.read,
        Kind.DEEPEYENET: deepeyenet.read,
        Kind.IDRID: idrid.read,
        Kind.FOLDER: folder.read,
    }
    return readers[kind]


def parse_spec(spec: str) -> tuple[Kind, Path]:
    """Split `kind:path`.

    Raises:
        DataError: unknown kind, no path, or nothing there.
    """
    name, colon, rest = spec.partition(":")
    try:
        kind = Kind(name.strip().lower())
    except ValueError:
        known = ", ".join(f"{k.value}:PATH" for k in Kind)
        raise DataError(f"data set {spec!r} names no kind that is read; write one of {known}") from None
    if not colon or not rest.strip():
        raise DataError(f"data set {spec!r} has no path; write {kind.value}:PATH")
    path = Path(rest.strip()).expanduser()
    if not path.exists():
        raise DataError(f"data set path {path} does not exist; check the path after {kind.value}:")
    return kind, path


def load(spec: str, *, skip_bad: bool = False) -> Dataset:
    """Read a data set.

    Args:
        spec: `kind:path`, for example `idrid:/data/idrid`.
        skip_bad: leave unusable rows out and keep them in `Dataset.problems`; by default they are refused.

    Raises:
        DataError: unknown kind, missing path, file or column; unusable rows, all listed, unless `skip_bad`; no sample at all.
    """
    kind, path = parse_spec(spec)
    dataset = _reader(kind)(path, spec)
    if dataset.problems and not skip_bad:
        raise refuse(spec, list(dataset.problems))
    if not dataset.samples:
        raise DataError(f"{spec} has no usable sample; check that it is the right folder")
    return replace(dataset, problems=tuple(sorted(dataset.problems, key=lambda p: p.row)))
