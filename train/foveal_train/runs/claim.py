"""The folder of a run in the making: taken, given back, found again by a resume. Trains nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from foveal_runtime.errors import ConfigError, DataError
from foveal_train.runs.run import RUN_FILE, write_json
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
        )
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged or of another foveal; name recipe and data as when it was started") from None


def claim(
    out: Path, recipe: Recipe, specs: Sequence[str], *, resume: bool, flags: Mapping[str, bool] = MappingProxyType({})
) -> None:
    """Take the run's folder, or make sure that a resume is of the run that is in it.

    Args:
        out: the run's folder.
        recipe: of the run.
        specs: its data sets.
        resume: go on with a run that is there.
        flags: of the command, kept for a resume that names none.

    Raises:
        ConfigError: a resume of another recipe or data.
        DataError: the folder is taken, holds nothing to resume, or can't be written.
    """
    request = {"recipe": recipe_document(recipe), "data": list(specs)}
    if (out / RUN_FILE).exists():
        raise DataError(f"{out} already holds a finished run; name another folder with --out")
    path = out / REQUEST_FILE
    if path.is_file():
        if not resume:
            raise DataError(f"{out} holds an unfinished run; go on with --resume, or name another folder with --out")
        asked = json.loads(path.read_text(encoding="utf-8"))
        if {name: asked.get(name) for name in request} != request:
            raise ConfigError(f"{out} was started with another recipe or data; resume with the same, or name another --out")
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


def claim_data(out: Path, data_sha256: str) -> None:
    """Write down what the data of a claimed run are, or make sure that a resume reads the same.

    Raises:
        ConfigError: they have changed.
        DataError: the folder can't be written.
    """
    path = out / REQUEST_FILE
    request = json.loads(path.read_text(encoding="utf-8"))
    known = request.setdefault("data_sha256", data_sha256)
    if known != data_sha256:
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
