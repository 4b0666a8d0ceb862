"""What runs there are in a folder, and how two of them differ. Opens no weights and trains nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal_runtime.errors import DataError
from foveal_train.runs.claim import REQUEST_FILE
from foveal_train.runs.run import METRICS_FILE, RUN_FILE, RunInfo, read_info
from foveal_train.runs.unequal import unequal
from foveal_train.training.checkpoint import finished_epochs

_INPUTS = ("image", "full")
"""Inputs of metrics.json whose grading is shown: the photograph alone where it was trained, else everything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One run, finished or not."""

    path: Path
    recipe: str
    data: tuple[str, ...]
    data_sha256: str
    epochs: int
    """Trained so far."""
    of_epochs: int
    """That its recipe asks for."""
    finished: bool
    written: datetime
    commit: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """Of held-out studies: `kappa`, `referable_auroc`, `text_to_image_r1`."""


def listed(folder: Path) -> list[Listed]:
    """Runs in `folder` or one of its own, the newest last.

    Raises:
        DataError: it is no folder, or one of its runs is damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; name one that holds runs, or a run")
    places = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if path.is_dir() and _is_run(path))
    return sorted(
        (_finished(path) if (path / RUN_FILE).is_file() else _begun(path) for path in places), key=lambda r: r.written
    )


def _is_run(path: Path) -> bool:
    return (path / RUN_FILE).is_file() or (path / REQUEST_FILE).is_file()


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _finished(path: Path) -> Listed:
    info = read_info(path)
    return Listed(
        path=path,
        recipe=str(info.recipe.get("name", info.model.profile)),
        data=info.data,
        data_sha256=info.data_sha256,
        epochs=info.epochs,
        of_epochs=int(info.recipe.get("optimiser", {}).get("epochs", info.epochs)),
        finished=True,
        written=_written(path / RUN_FILE),
        commit=info.origin.commit if info.origin else "",
        figures=figures(_json(path / METRICS_FILE)),
    )


def _begun(path: Path) -> Listed:
    request = _json(path / REQUEST_FILE)
    recipe = request.get("recipe", {})
    return Listed(
        path=path,
        recipe=str(recipe.get("name", "")),
        data=tuple(request.get("data", ())),
        data_sha256=str(request.get("data_sha256", "")),
        epochs=finished_epochs(path),
        of_epochs=int(recipe.get("optimiser", {}).get("epochs", 0)),
        finished=False,
        written=_written(path / REQUEST_FILE),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        raise DataError(f"{path} is damaged: no JSON; train again") from None
    return document if isinstance(document, dict) else {}


def figures(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures that a list shows, from metrics.json; None where they were not measured."""
    grading = metrics.get("grading") or {}
    shown: Mapping[str, Any] = next((grading[name] for name in _INPUTS if name in grading), {})
    head = (shown.get("heads") or {}).get("icdr") or {}
    retrieval = ((metrics.get("retrieval") or {}).get("independent") or {}).get("text_to_image") or {}
    recall = ((retrieval.get("strict") or {}).get("recall") or {}).get("1") or {}
    return {
        "kappa": _value(head.get("kappa")),
        "referable_auroc": _value((head.get("referable") or {}).get("auroc")),
        "text_to_image_r1": _value(recall),
    }


def _value(figure: Any) -> float | None:
    return figure.get("value") if isinstance(figure, Mapping) else None


def differences(one: RunInfo, other: RunInfo) -> list[tuple[str, str, str]]:
    """What differs between two runs: recipe, data, commit, libraries and machine, as (key, of one, of the other)."""
    return [(key, _text(here), _text(there)) for key, here, there in unequal(_facts(one), _facts(other))]


def _facts(info: RunInfo) -> dict[str, Any]:
    origin = info.origin
    return {
        "recipe": info.recipe,
        "data": ", ".join(info.data),
        "data_sha256": info.data_sha256[:12],
        "commit": origin.commit if origin else "",
        "environment": dict(origin.environment) if origin else {},
        "made_with": info.made_with,
        "best_epoch": info.best_epoch,
        "epochs": info.epochs,
        "train_studies": info.train_studies,
    }


def _text(value: Any) -> str:
    return "–" if value is None or value == "" else str(value)
