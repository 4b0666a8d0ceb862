"""What a sweep's folder holds of an earlier call, and whether it is of the same recipe and the same data. Runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from foveal_runtime.errors import DataError
from foveal_train.runs.claim import REQUEST_FILE
from foveal_train.runs.run import RUN_FILE, write_json
from foveal_train.runs.unequal import unequal
from foveal_train.training.recipe import Recipe, recipe_document, recipe_from_document

ROW_FILE = "row.json"
RUN = "run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a row is made from."""

    recipe: Recipe
    data_sha256: str

    def document(self) -> dict[str, Any]:
        """As JSON, beside a row."""
        return {"recipe": recipe_document(self.recipe), "data_sha256": self.data_sha256}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What there is of one recipe."""

    row: dict[str, Any] | None
    """Its finished row."""
    has_run: bool
    """Whether its training is finished."""
    has_begun: bool
    """Whether a training was begun and not finished."""
    differences: tuple[str, ...]
    """How what is there differs from what is asked for; empty where it does not."""


def look(folder: Path, request: Request) -> Stored:
    """What a row's folder holds.

    Args:
        folder: rows/NAME of a sweep.
        request: what is asked for.

    Raises:
        DataError: a file in it is damaged.
    """
    row = _read(folder / ROW_FILE)
    run, begun = _read(folder / RUN / RUN_FILE), _read(folder / RUN / REQUEST_FILE)
    found: list[str] = []
    if row is not None:
        found += differences(row.get("request", {}), request)
    if run is not None:
        found += differences(run, request)
    elif begun is not None:
        # One that was stopped before it read its data has trained on none.
        found += differences({"data_sha256": request.data_sha256, **begun}, request)
    return Stored(
        row=row, has_run=run is not None, has_begun=run is None and begun is not None, differences=tuple(dict.fromkeys(found))
    )


def differences(document: Mapping[str, Any], request: Request) -> list[str]:
    """How a stored recipe and its data differ from those asked for, in words.

    Args:
        document: `recipe` and `data_sha256`, as row.json, run.json and request.json have them.
        request: what is asked for.
    """
    try:
        stored = recipe_document(recipe_from_document(document["recipe"]))  # keys that are newer than it get their defaults
    except (KeyError, ValueError):
        return ["its recipe is not one that this foveal reads"]
    asked = recipe_document(request.recipe)
    words = [
        f"{key} is {there!r} there and {here!r} here" for key, there, here in sorted(unequal(stored, asked), key=itemgetter(0))
    ]
    known = document.get("data_sha256", "")
    if known != request.data_sha256:
        words.append("its data are others" if known else "it does not say which data it is of")
    return words


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{path} is damaged: no JSON; remove its folder, and the sweep makes it anew") from None
    return document


def write(path: Path, document: Any) -> None:
    """Write a file of the sweep.

    Raises:
        DataError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document)
    except OSError as error:
        raise DataError(f"{path} can't be written ({error.strerror}); free space or name another folder with --out") from None
