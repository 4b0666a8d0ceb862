"""`foveal runs`: list runs, or compare some of them. Heavy imports happen inside the command."""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from foveal_train.runs.listing import Listed

RUNS = Path("runs")
_FILE_COLUMNS = 240
_FIGURES = {"kappa": "ICDR kappa", "referable_auroc": "referable AUROC", "text_to_image_r1": "text to image R@1"}


def runs(*places: Path, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List the runs of a folder, or compare runs: figures side by side, and what differs in recipe, data, commit and machine.

    An unfinished run is listed with the epoch it stands at; `foveal train --resume --out RUN` goes on with it.

    For example:

        foveal runs

        foveal runs sweeps/paper/rows

        foveal runs runs/edge-20261124-101500 runs/edge-20261125-093000

    Args:
        places: A folder of runs (./runs by default), or two or more runs to compare.
        json: Print one JSON document on stdout.
    """
    from foveal_train.runs.listing import differences, listed
    from foveal_train.runs.run import read_info

    if len(places) < 2:
        found = listed(places[0] if places else RUNS)
        if json:
            sys.stdout.write(json_module.dumps({"runs": [_document(one) for one in found]}) + "\n")
            return
        _console().print(_list(found))
        return
    found = [one for place in places for one in listed(place)]
    infos = [read_info(one.path) for one in found]
    changed = {str(other.path): differences(infos[0], info) for other, info in zip(found[1:], infos[1:], strict=True)}
    if json:
        document = {
            "runs": [_document(one) for one in found],
            "differences": {
                path: [dict(zip(("key", "first", "this"), row, strict=True)) for row in rows] for path, rows in changed.items()
            },
        }
        sys.stdout.write(json_module.dumps(document) + "\n")
        return
    console = _console()
    console.print(_list(found))
    for path, rows in changed.items():
        console.print(_changes(str(found[0].path), path, rows))


def _console() -> Console:
    """Of stdout; where that is a file, lines are as long as they need to be."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _FILE_COLUMNS)


def _document(one: Listed) -> dict[str, Any]:
    return {**asdict(one), "path": str(one.path), "written": one.written.isoformat(timespec="seconds"), "data": list(one.data)}


def _list(found: list[Listed]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("run", "written (UTC)", "recipe", "data", "epochs", *_FIGURES.values(), "commit"):
        table.add_column(name, overflow="fold")
    for one in found:
        numbers = [one.figures.get(name) for name in _FIGURES]
        state = f"{one.epochs}" if one.finished else f"{one.epochs} of {one.of_epochs}, unfinished"
        data = f"{', '.join(spec.partition(':')[0] for spec in one.data)} {one.data_sha256[:8]}".strip()
        table.add_row(
            one.path.name,
            f"{one.written:%Y-%m-%d %H:%M}",
            one.recipe,
            data,
            state,
            *("–" if number is None else f"{number:.3f}" for number in numbers),
            one.commit[:9] or "–",
        )
    return table


def _changes(first: str, other: str, rows: list[tuple[str, str, str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title=None if rows else f"{other} differs from {first} in nothing that is recorded")
    for name in ("differs", first, other):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
