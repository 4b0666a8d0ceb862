"""The record of one change of a bundle, in Markdown: what `foveal diff` found, and places for the decision."""

from __future__ import annotations

import datetime
from typing import Any


def change_record(document: dict[str, Any], when: datetime.datetime) -> str:
    """The page of docs/change-control.md, filled.

    Args:
        document: as `foveal diff --json` prints it.
        when: the comparison was made.
    """
    old, new, sizes = document["old"], document["new"], document["bytes"]
    verdict = "inside" if document["inside"] else "**OUTSIDE**"
    rows = [
        "# Change record: another bundle",
        "",
        f"Compared on {when:%Y-%m-%d %H:%M} UTC. The difference is {verdict} the envelope.",
        "",
        "| | old | new |",
        "| --- | --- | --- |",
        f"| bundle (SHA-256 of its manifest) | `{old['sha256']}` | `{new['sha256']}` |",
        f"| profile, precision | {old['profile']} {old['precision']} | {new['profile']} {new['precision']} |",
        f"| megabytes | {sizes['old'] / 1e6:.1f} | {sizes['new'] / 1e6:.1f} |",
        *(f"| made with {name} | {each['old']} | {each['new']} |" for name, each in document["made_with"].items()),
        "",
        "Embedding space: " + ("the same." if document["same_space"] else "another; an archive has to be embedded again."),
        *(f"- lost: {lost}" for lost in document["lost"]),
        "",
        "| limit | of what | found | allowed | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in document["judged"]:
        allowed = "any" if row["limit"] is None else f"{row['limit']:.4g}"
        mark = "inside" if row["inside"] else "**outside**"
        rows.append(f"| `{row['quantity']}` | {row['where']} | {row['got']:.4g} | {allowed} | {mark} |")
    rows += [
        "",
        "| | |",
        "| --- | --- |",
        "| Why the bundle is changed | |",
        "| Class of the change (docs/change-control.md) | |",
        "| Labelled studies it was compared on, or why none | |",
        "| Validated again: what, by whom, where the report lies | |",
        "| Decision: replace, replace on trial, do not replace | |",
        "| Way back, and who watches what for how long | |",
        "| Name, date, signature | |",
    ]
    return "\n".join(rows) + "\n"
