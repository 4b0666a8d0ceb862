"""The filled tables as Markdown, ours beside the paper's. Computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(document: Mapping[str, Any]) -> str:
    """All tables as Markdown, ours beside the paper's.

    Args:
        document: `data`, `overrides` and `tables` as `fill` gives them.
    """
    parts = [
        "# The paper's tables, ours beside theirs",
        f"Data: {', '.join(document['data'])}. {document['remark']} Brackets are 95 % bootstrap intervals over patients; "
        "a dash was not measured.",
    ]
    for table in document["tables"]:
        heads = [part for column in table["columns"] for part in _heads(column)]
        lines = [f"| model | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
        for line in table["lines"]:
            cells: list[str] = []
            for column, paper, ours in zip(table["columns"], line["paper"], line["ours"], strict=True):
                cells += [_number(paper, column["unit"]), _ours(ours, column["unit"])]
            lines.append(f"| {line['label']} | {' | '.join(cells)} |")
        caveats = "\n".join(f"- {caveat}" for caveat in table["caveats"])
        parts.append(f"## Table {table['number']}: {table['title']}\n\n" + "\n".join(lines) + f"\n\n{caveats}")
    return "\n\n".join(parts) + "\n"


def _heads(column: Mapping[str, str]) -> tuple[str, str]:
    unit = f" {column['unit']}" if column["unit"] else ""
    return f"{column['title']}{unit}, paper", "ours"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if unit in ("", "%") else f"{value:.3g}"


def _ours(found: Mapping[str, Any], unit: str) -> str:
    interval = found["interval"]
    spread = f" [{_number(interval[0], unit)}, {_number(interval[1], unit)}]" if interval else ""
    return _number(found["value"], unit) + spread
