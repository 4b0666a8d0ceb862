"""`--csv`: answers as rows that a spreadsheet opens. Makes rows of JSON documents, so that both say the same; asks nothing.

A cell of text that a spreadsheet would run as a formula (it begins with =, +, -, @, a tab or a line end) gets an apostrophe in
front: a file's name is chosen by whoever made the file. See OWASP, "CSV Injection".
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from foveal_runtime.errors import ConfigError

Csv = Annotated[bool, Parameter(name="--csv", negative=())]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_CLASSES = 5
GRADE_COLUMNS = (
    "file",
    "status",
    "verdict",
    "quality",
    "icdr",
    "icdr_name",
    *(f"icdr_p{grade}" for grade in range(_CLASSES)),
    "icdr_set",
    "sdrg",
    "sdrg_name",
    *(f"sdrg_p{grade}" for grade in range(_CLASSES)),
    "heads",
    "referral",
    "probability",
    "operating_point",
    "threshold",
    "by_grade_alone",
    "unverified",
    "imputed",
    "unlike_training",
    "message",
)
HIT_COLUMNS = (
    "place",
    "id",
    "score",
    "source",
    "patient",
    "eye",
    "camera",
    "site",
    "acquired",
    "icdr",
    "referable",
    "attributes",
)


def one_format(*, csv: bool, json: bool) -> None:
    """Raises:
    ConfigError: both were asked for.
    """
    if csv and json:
        raise ConfigError("--csv and --json were both given; stdout holds one of them")


def grade_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """The row of one graded file, from `output.grade_document`. What is not known is empty; a grade of 0 is 0."""
    quality, referable = document["quality"], document["referable"]
    row: dict[str, Any] = {
        "file": document["file"],
        "status": document["status"],
        "verdict": document["verdict"] or "failed",
        "quality": quality["status"].lower() if quality else None,
        "message": document.get("message") or _why(document),
        "unverified": " ".join(document.get("unverified", ())),
        "imputed": " ".join(document.get("imputed", ())),
    }
    for head in ("icdr", "sdrg"):
        if (found := document[head]) is not None:
            row |= {head: found["grade"], f"{head}_name": found["name"]}
            row |= {f"{head}_p{grade}": value for grade, value in enumerate(found["probabilities"])}
    if document["icdr"] is not None and "set" in document["icdr"]:
        row["icdr_set"] = " ".join(map(str, document["icdr"]["set"]["grades"]))
    row["heads"] = "; ".join(
        f"{head}: {found['likeliest']} {found['probabilities'][found['likeliest']]:.3f}"
        for head, found in document["heads"].items()
    )
    if "novelty" in document:
        row["unlike_training"] = document["novelty"]["unlike_training"]
    if referable is not None:
        row |= {
            "referral": "refer" if referable["decision"] else "not_referable",
            "probability": referable["probability"],
            "operating_point": referable["operating_point"]["name"],
            "threshold": referable["operating_point"]["threshold"],
            "by_grade_alone": referable["by_grade_alone"],
        }
    return row


def _why(document: Mapping[str, Any]) -> str:
    """Why a study that did not fail has no grade."""
    if document["verdict"] == "ungradable":
        return str(document["quality"]["message"])
    return str(document.get("abstained", {}).get("message", ""))


def hit_row(document: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The row of one hit, from `output.hit_document`."""
    attributes = json.dumps(document["attributes"], ensure_ascii=False) if document["attributes"] else None
    return {**document, "place": place, "attributes": attributes}


def print_csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    """A header and the rows on stdout, each as soon as it comes."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
        sys.stdout.flush()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A name may hold bytes that are no text, and a line end that the writer does not quote.
        text = value.encode("utf-8", "backslashreplace").decode().replace("\r", "\\r")
        return f"'{text}" if value.startswith(_FORMULA) else text
    return value
