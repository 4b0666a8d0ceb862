"""The folder of a run in the making: taken, given back, found again by a resume. Trains nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from foveal_runtime.errors import ConfigError, DataError
from foveal_train.runs.run import RUN_FILE, write_json
from foveal_train.runs.teachers import Teaching, fingerprint
from foveal_train.training.recipe import Recipe, recipe_document, recipe_from_document

REQUEST_FILE = "request.json"
"""What a run was asked to be; a resume must ask for the same."""
CACHE = "cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """What an unfinished run was asked to be: all that a resume needs."""

    recipe: Recipe
    specs: tuple[str, ...]
    skip_bad: bool
    tensorboard: bool
    teaching: Teaching | None = None
    """None of a run without teachers."""


def begun(out: Path) -> Begun:
    """The request of the unfinished run in `out`.

    Raises:
        DataError: there is none, it is finished, or it can't be read.
    """
    path = out / REQUEST_FILE
    if (out / RUN_FILE).exists():
        raise DataError(f"{out} holds a finished run, there is nothing to resume; name another folder with --out")
    if not path.is_file():
        raise DataError(f"there is no unfinished run in {out} to resume; leave --resume out")
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
        return Begun(
            recipe=recipe_from_document(request["recipe"]),
            specs=tuple(request["data"]),
            skip_bad=bool(request.get("skip_bad", False)),
            tensorboard=bool(request.get("tensorboard", False)),
            teaching=_teaching(request.get("teaching")),
        )
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged or of another foveal; name recipe and data as when it was started") from None


def _teaching(document: Mapping[str, Any] | None) -> Teaching | None:
    """Inverse of `_teaching_document`."""
    if document is None:
        return None
    return Teaching(
        teachers=tuple(Path(path) for path in document["teachers"]),
        unlabelled=tuple(document["unlabelled"]),
        answers=None if document["answers"] is None else Path(document["answers"]),
        not_held_out=bool(document["not_held_out"]),
    )


def _teaching_document(teaching: Teaching) -> dict[str, Any]:
    """What a resume needs of the teachers: their folders, and what was in them."""
    return {
        "teachers": {str(path): fingerprint(path) for path in teaching.teachers},
        "unlabelled": list(teaching.unlabelled),
        "answers": None if teaching.answers is None else str(teaching.answers),
        "not_held_out": teaching.not_held_out,
    }


def claim(
    out: Path,
    recipe: Recipe,
    specs: Sequence[str],
    *,
    resume: bool,
    teaching: Teaching | None = None,
    flags: Mapping[str, bool] = MappingProxyType({}),
) -> None:
    """Take the run's folder, or make sure that a resume is of the run that is in it.

    Args:
        out: the run's folder.
        recipe: of the run.
        specs: its data sets.
        resume: go on with a run that is there.
        teaching: of a run with teachers, which are there.
        flags: of the command, kept for a resume that names none.

    Raises:
        ConfigError: a resume of another recipe, data or teachers.
        DataError: the folder is taken, holds nothing to resume, or can't be written.
    """
    taught = None if teaching is None else _teaching_document(teaching)
    request = {"recipe": recipe_document(recipe), "data": list(specs), "teaching": taught}
    if (out / RUN_FILE).exists():
        raise DataError(f"{out} already holds a finished run; name another folder with --out")
    path = out / REQUEST_FILE
    if path.is_file():
        if not resume:
            raise DataError(f"{out} holds an unfinished run; go on with --resume, or name another folder with --out")
        asked = json.loads(path.read_text(encoding="utf-8"))
        if {name: asked.get(name) for name in request} != request:
            what = "other teachers" if asked.get("teaching") != taught else "another recipe or data"
            raise ConfigError(f"{out} was started with {what}; resume with the same, or name another --out")
        return
    if resume:
        raise DataError(f"there is no unfinished run in {out} to resume; leave --resume out")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and holds no run; name another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, {**request, **flags})
    except OSError as error:
        raise DataError(f"run folder {out} can't be written ({error.strerror}); name another with --out") from None


def claim_data(out: Path, data_sha256: str, unlabelled_sha256: str = "") -> None:
    """Write down what the data of a claimed run are, or make sure that a resume reads the same.

    Args:
        out: the run's folder.
        data_sha256: of its studies.
        unlabelled_sha256: of the photographs that it learns from without labels; empty where there are none.

    Raises:
        ConfigError: they have changed.
        DataError: the folder can't be written.
    """
    path = out / REQUEST_FILE
    request = json.loads(path.read_text(encoding="utf-8"))
    found = {"data_sha256": data_sha256, **({"unlabelled_sha256": unlabelled_sha256} if unlabelled_sha256 else {})}
    if any(request.setdefault(name, sha256) != sha256 for name, sha256 in found.items()):
        raise ConfigError(
            f"the data of {out} are not what it was started with: photographs, labels, notes, records or patients have "
            "changed; restore them, or name another --out"
        )
    try:
        write_json(path, request)
    except OSError as error:
        raise DataError(f"run folder {out} can't be written ({error.strerror}); name another with --out") from None


def leave(out: Path) -> None:
    """Give a folder back in which no training began: what was asked for could not be done, and is asked for anew."""
    shutil.rmtree(out / CACHE, ignore_errors=True)
    (out / REQUEST_FILE).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()
