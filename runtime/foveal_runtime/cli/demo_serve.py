"""The serve half of `foveal demo`: a trained bundle and real photographs on a real server. Needs the runtime alone."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.bundle.shipped import LABELS
from foveal_runtime.cli.steps import Steps
from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import REFERABLE_GRADE

if TYPE_CHECKING:
    from rich.table import Table

HALF = "serve"
GRADES = "grades.json"
SHEET = "search.html"
_AFTER_SERVE = ("grade", "exam", "embed", "index", "search")


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A photograph with what a person said of it."""

    file: Path
    icdr: int
    patient: str
    eye: str
    """`right` or `left`."""


def read_labels(folder: Path) -> list[Labelled]:
    """The photographs that the folder's labels.csv lists.

    Raises:
        ConfigError: a file is missing, or a row is not usable.
    """
    path = folder / LABELS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                Labelled(file=folder / row["image"], icdr=int(row["icdr"]), patient=row["patient"], eye=row["eye"])
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} can't be used ({type(error).__name__}); it needs the columns image, icdr, patient and eye"
        ) from None
    missing = [str(row.file) for row in rows if not row.file.is_file()]
    if missing or not rows:
        raise ConfigError(f"{path} lists {', '.join(missing) or 'no photograph'}; put the photographs beside it")
    return rows


def run(steps: Steps, bundle: Path, photographs: Path) -> None:
    """Serve the bundle; grade, judge an exam, embed, index and search.

    Raises:
        CheckFailed: a command failed; the message says how to go on.
        ConfigError: the photographs can't be used.
    """
    rows = read_labels(photographs)
    if steps.finished(*_AFTER_SERVE):
        return
    query = next((row for row in rows if row.icdr == 3), rows[0]).file
    sheet = steps.folder / SHEET
    with steps.serving(bundle) as address:
        at = ("--address", address)
        files = tuple(row.file for row in rows)
        steps.command("grade", ("grade", *files, *at), partial(_graded, rows), document=GRADES)
        right, left = _pair(rows)
        asked: tuple[str | Path, ...] = ("exam", left.file, right.file, *at)
        steps.command("exam", asked, partial(_judged, [right, left]), document="exam.json")
        steps.command("embed", ("embed", *files[:2], *at), _embedded, document="vectors.json")
        steps.command("index", ("index", photographs, *at), _indexed, document="index.json")
        asked = ("search", "--image", query, "--k", "5", "--sheet", sheet, *at)
        steps.command("search", asked, partial(_found, query), document="hits.json", where=sheet)


def grade_rows(steps: Steps, photographs: Path) -> list[dict[str, Any]]:
    """What was graded, beside the labels: file, label, grade (None: none was given), name, referable, probability, remark."""
    answers = json.loads((steps.folder / GRADES).read_text(encoding="utf-8"))
    return [_row(row, answer) for row, answer in zip(read_labels(photographs), answers, strict=True)]


def grade_table(rows: list[dict[str, Any]]) -> Table:
    """`grade_rows` as a table that 80 columns hold."""
    from rich import box
    from rich.table import Table

    title = "Graded photographs beside their labels (ICDR 0 to 4; referable from 2 on)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("photograph", "label", "graded", "p", "refer", "p(refer)"):
        table.add_column(name, justify="right" if name.startswith("p(") or name == "p" else "left", no_wrap=True)
    for row in rows:
        name = Path(row["file"]).name
        if row["remark"]:
            table.add_row(name, str(row["label"]), row["remark"], "", "", "")
            continue
        referable = row["referable"]
        said = "" if referable is None else "yes" if referable else "no"
        table.add_row(
            name, str(row["label"]), f"{row['grade']}", _number(row["probability"]), said, _number(row["referable_probability"])
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _row(row: Labelled, answer: dict[str, Any]) -> dict[str, Any]:
    icdr, referable, quality = answer["icdr"], answer["referable"], answer["quality"]
    remark = ""
    if quality is not None and not quality["gradable"]:
        remark = f"refused: {quality['status'].lower().replace('_', ' ')}"
    elif icdr is None:
        remark = "no grade: this bundle serves none of a photograph alone"
    return {
        "file": str(row.file),
        "label": row.icdr,
        "grade": None if icdr is None else icdr["grade"],
        "probability": None if icdr is None else icdr["probabilities"][icdr["grade"]],
        "referable": None if referable is None else referable["decision"],
        "referable_probability": None if referable is None else referable["probability"],
        "remark": remark,
    }


def _graded(labelled: list[Labelled], answers: Any) -> str:
    rows = [_row(row, answer) for row, answer in zip(labelled, answers, strict=True)]
    graded = [row for row in rows if row["grade"] is not None]
    same = sum(row["grade"] == row["label"] for row in graded)
    near = sum(abs(row["grade"] - row["label"]) <= 1 for row in graded)
    judged = [row for row in graded if row["referable"] is not None]
    right = sum(row["referable"] == (row["label"] >= REFERABLE_GRADE) for row in judged)
    refused = f"; {len(rows) - len(graded)} given no grade" if len(graded) < len(rows) else ""
    return (
        f"{len(graded)} of {len(rows)} photographs graded: {same} as labelled, {near} within one grade; "
        f"referable or not: right for {right} of {len(judged)}{refused}"
    )


def _judged(pair: list[Labelled], answer: Any) -> str:
    worst = max(row.icdr for row in pair)
    return f"patient: {answer['patient']['says']} (labels: worse eye {worst})"


def _pair(rows: list[Labelled]) -> list[Labelled]:
    """The right and the left eye of the first patient who has both.

    Raises:
        ConfigError: nobody has.
    """
    for row in rows:
        both = {each.eye: each for each in rows if each.patient == row.patient}
        if {"right", "left"} <= set(both):
            return [both["right"], both["left"]]
    raise ConfigError(
        f"{LABELS} has no patient with a right and a left eye, which the exam needs; add a photograph of the other eye"
    )


def _embedded(answers: Any) -> str:
    first, second = (answer["vectors"]["joint"] for answer in answers)
    cosine = sum(a * b for a, b in zip(first, second, strict=True))
    return f"{len(answers)} unit vectors of {len(first)} numbers; cosine similarity to each other {cosine:.3f}"


def _indexed(answer: Any) -> str:
    return f"{answer['stored'] + answer['already_stored']} of {answer['photographs']} photographs in the archive"


def _found(query: Path, answer: Any) -> str:
    first, *others = answer["hits"]
    near = f"; next is {Path(others[0]['source']).name} ({others[0]['score']:.3f})" if others else ""
    return f"nearest to {query.name}: {Path(first['source']).name} ({first['score']:.3f}){near}"
