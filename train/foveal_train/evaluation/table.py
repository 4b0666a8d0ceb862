"""Metrics as tables for a terminal. Reads the document of `evaluate_arrays`; measures nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foveal_runtime.labels import Head
from foveal_train.evaluation.inputs import MAIN_INPUTS
from foveal_train.evaluation.retrieval import KS
from foveal_train.evaluation.warn import percent

DIRECTIONS = {"text_to_image": "note → photograph", "image_to_text": "photograph → note"}


def cell(figure: dict[str, Any] | None, *, share: bool = True) -> Text:
    """A figure over its interval; a dash where there is none.

    Args:
        figure: as `evaluate_arrays` documents it.
        share: show as per cent rather than as a number of three decimals.
    """
    if figure is None or figure["value"] is None:
        return Text("–", style="dim")
    scale, digits = (100, 1) if share else (1, 3)
    text = Text(f"{scale * figure['value']:.{digits}f}", style="bold")
    if figure["interval"] is not None:
        low, high = figure["interval"]
        text.append(f"\n{scale * low:.{digits}f} to {scale * high:.{digits}f}", style="not bold dim")
    return text


def table(metrics: dict[str, Any]) -> RenderableType:
    """Grading, referable DR, retrieval and the warnings, for `rich.console.Console.print`."""
    parts: list[RenderableType] = []
    for head in metrics["heads"]:
        shown = _main_inputs(metrics, head)
        if shown:
            parts.append(_grading(head, shown))
    referable = _main_inputs(metrics, Head.ICDR.value)
    if referable:
        parts.append(_referable(referable))
    if metrics["retrieval"]:
        parts.append(_retrieval(metrics["retrieval"]))
    parts += [Text(f"• {warning}", style="yellow") for warning in metrics["warnings"]]
    return Group(*parts)


def _main_inputs(metrics: dict[str, Any], head: str) -> list[dict[str, Any]]:
    """The four inputs every report needs (all of them where none was trained); the others are in metrics.json and the report."""
    able = {name: one for name, one in metrics["grading"].items() if one["same_as"] is None and head in one["heads"]}
    return [one for name, one in able.items() if name in MAIN_INPUTS] or list(able.values())


def _new(title: str, first: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", pad_edge=False)
    made.add_column(first)
    for column in columns:
        made.add_column(column, justify="left" if column == "direction" else "right", no_wrap=column == "direction")
    return made


def _grading(head: str, inputs: list[dict[str, Any]]) -> Table:
    base = inputs[0]["heads"][head]["majority"]
    made = _new(
        f"{head.upper()} grade, 95 % intervals over patients",
        "shown to the model", "studies", "accuracy %", "balanced\naccuracy %", "quadratic\nkappa", "ECE %\nbefore", "after",
    )  # fmt: skip
    for one in inputs:
        figures = one["heads"][head]
        made.add_row(
            one["title"], str(figures["n"]), cell(figures["accuracy"]), cell(figures["balanced_accuracy"]),
            cell(figures["kappa"], share=False), cell(figures["ece"]["before"]), cell(figures["ece"]["after"]),
        )  # fmt: skip
    made.caption = (
        f"Always answering grade {base['grade']}: accuracy {percent(base['accuracy']['value'])}, "
        f"balanced accuracy {percent(base['balanced_accuracy'])}, kappa 0."
    )
    return made


def _referable(inputs: list[dict[str, Any]]) -> Table:
    made = _new(
        "Referable DR (ICDR ≥ 2)",
        "shown to the model", "studies", "referable", "AUROC", "threshold", "sensitivity %", "specificity %",
    )  # fmt: skip
    for one in inputs:
        found = one["heads"][Head.ICDR.value]["referable"]
        points = found["operating_points"] or [None]
        for row, point in enumerate(points):
            head = [one["title"], str(found["n"]), str(found["positives"]), cell(found["auroc"], share=False)]
            tail = ["–", Text("–"), Text("–")] if point is None else _point(point)
            made.add_row(*(head if row == 0 else [""] * len(head)), *tail)
    return made


def _point(point: dict[str, Any]) -> list[str | Text]:
    threshold = "by subset" if point["threshold"] is None else f"{point['threshold']:.3f}"
    return [f"{point['name']}\n{threshold}", cell(point["sensitivity"]), cell(point["specificity"])]


def _retrieval(protocols: dict[str, Any]) -> Table:
    made = _new(
        "Retrieval (strict: the query's own study; same labels: any study with them)",
        "protocol", "direction", "queries /\ngallery", *(f"strict\nR@{k} %" for k in KS),
        "same labels\nR@1 %", "mAP %", "nDCG %",
    )  # fmt: skip
    for name, protocol in protocols.items():
        if protocol is None:
            continue
        for key, words in DIRECTIONS.items():
            found = protocol[key]
            label = next(iter(found["labels"].values()))
            made.add_row(
                name, words, f"{found['queries']} /\n{found['gallery']}",
                *(cell(found["strict"]["recall"][str(k)]) for k in KS),
                cell(label["recall"]["1"]), cell(label["map"]), cell(label["ndcg"]),
            )  # fmt: skip
        ceiling = protocol["text_to_image"]["strict"]["ceiling"]
        chance = next(iter(protocol["text_to_image"]["labels"].values()))["chance"]
        made.add_row(
            "", Text("best a note can do", style="italic"), "",
            *(Text(f"{100 * ceiling[str(k)]:.1f}", style="italic") for k in KS), "", "", "",
        )  # fmt: skip
        made.add_row(
            "", Text("chance", style="italic"), "",
            *(Text(f"{100 * protocol['text_to_image']['strict']['chance'][str(k)]:.1f}", style="italic") for k in KS),
            *(Text(f"{100 * value:.1f}", style="italic") for value in (chance["recall"]["1"], chance["map"], chance["ndcg"])),
            end_section=True,
        )  # fmt: skip
    return made
