"""The figures of idrid_nested.py as the Markdown tables of docs/results.md. Computes nothing."""

from __future__ import annotations

from typing import Any


def _figure_text(figure: dict[str, Any], sign: str = "") -> str:
    value, interval = figure["value"], figure.get("interval")
    return f"{value:{sign}.3f}" + (f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else "")


def seeds_markdown(found: dict[str, Any]) -> str:
    """The table of several seeds."""
    what = f"{found['photographs']} photographs, {found['groups']} groups, seeds {found['seeds']}"
    lines = [f"| {what} | as they are | as simulated cameras |", "| --- | --- | --- |"]
    for name, label in (
        ("kappa", "quadratic-weighted kappa"),
        ("auroc", "referable-DR AUROC"),
        ("macro_auroc", "five-class macro AUROC"),
    ):
        cells = [
            f"{_figure_text(found[kind][name])} ({', '.join(f'{value:.3f}' for value in found[kind][name]['by_seed'])})"
            for kind in ("plain", "camera")
        ]
        lines.append(f"| {label} (each seed) | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def markdown(found: dict[str, Any]) -> str:
    """The tables of docs/results.md."""
    lines = []
    if "plain" in found:
        lines += [f"| outer folds {found['outer_folds']}, n = {found['photographs']} | as they are | as simulated cameras |"]
        lines += ["| --- | --- | --- |"]
        for name, label in (
            ("kappa", "quadratic-weighted kappa"),
            ("auroc", "referable-DR AUROC"),
            ("accuracy", "accuracy, five grades"),
            ("kappa_of_rounded_expectation", "kappa when the expected grade is rounded"),
        ):
            lines.append(f"| {label} | {_figure_text(found['plain'][name])} | {_figure_text(found['camera'][name])} |")
        lines += ["", "| simulated camera | n | kappa, before | AUROC, before |", "| --- | --- | --- | --- |"]
        for row in found["by_camera"]:
            kappa, area = (f"{row[key]:.3f}, {row[f'plain_{key}']:.3f}" for key in ("kappa", "auroc"))
            lines.append(f"| {row['camera']} | {row['photographs']} | {kappa} | {area} |")
        lines.append("")
    if "worth" in found:
        lines += ["| inner folds: from, to | kappa | AUROC | kappa, cameras | AUROC, cameras | chosen in |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        for row in found["worth"]:
            gains = [_figure_text(row[key], "+") for key in ("plain_kappa", "plain_auroc", "camera_kappa", "camera_auroc")]
            wins = sum(levels[row["factor"]] == row["to"] for levels in found["chosen"].values())
            first = f"{row['factor']}: {row['from']}, {row['to']}"
            lines.append(f"| {first} | {' | '.join(gains)} | {wins} of {len(found['chosen'])} |")
    return "\n".join(lines)
