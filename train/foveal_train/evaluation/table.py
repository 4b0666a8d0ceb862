"""Metrics as tables for a terminal. Reads the document of `evaluate_arrays`; measures nothing."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foveal_runtime.study.labels import ICDR
from foveal_train.evaluation.patients import WAYS as PATIENT_WAYS
from foveal_train.evaluation.retrieval import KS, NDCG_AT
from foveal_train.evaluation.shown import Shown, main_inputs
from foveal_train.evaluation.warn import percent

_WORDS = ("direction", "same")
DIRECTIONS = {"text_to_image": "note → photograph", "image_to_text": "photograph → note"}
_SHORT = {"text_to_image": "note → image", "image_to_text": "image → note"}


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
        low, high = (f"{scale * bound:.{1 if share else 2}f}" for bound in figure["interval"])
        text.append(f"\n{low}–{high}", style="not bold dim")
    return text


def table(metrics: dict[str, Any]) -> RenderableType:
    """Grading, referable DR, retrieval and the warnings, for `rich.console.Console.print`."""
    parts: list[RenderableType] = []
    for head in metrics["heads"]:
        shown = main_inputs(metrics, head)
        if shown:
            parts.append(_grading(head, shown))
    referable = main_inputs(metrics, ICDR)
    if referable:
        parts.append(_referable(referable))
    if metrics.get("patient_level"):
        parts.append(_patients(metrics))
    measured = {name: protocol for name, protocol in (metrics["retrieval"] or {}).items() if protocol is not None}
    if measured:
        parts += [_strict(measured), _same_label(measured)]
    parts += [Text(f"• {warning}", style="yellow") for warning in metrics["warnings"]]
    return Group(*parts)


def _new(title: str, first: str, *columns: str) -> Table:
    made = Table(
        title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False,
    )  # fmt: skip
    # Words give way before figures do: a figure that is cut short is worse than none.
    made.add_column(first, no_wrap=first == "protocol")
    for column in columns:
        made.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return made


def _grading(head: str, inputs: list[Shown]) -> Table:
    base = inputs[0].figures["majority"]
    made = _new(
        f"{head.upper()} grade, 95 % intervals over patients",
        "shown to the model", "studies", "accu-\nracy %", "balanced\naccuracy %", "quadratic\nkappa", "macro\nAUROC",
        "ECE %\nbefore", "ECE %\nafter",
    )  # fmt: skip
    for one in inputs:
        figures = one.figures
        made.add_row(
            one.title, str(figures["n"]), cell(figures["accuracy"]), cell(figures["balanced_accuracy"]),
            cell(figures["kappa"], share=False),
            cell(figures["macro_auroc"], share=False), cell(figures["ece"]["before"]), cell(figures["ece"]["after"]),
        )  # fmt: skip
    made.caption = (
        f"Always answering grade {base['grade']}: accuracy {percent(base['accuracy']['value'])}, "
        f"balanced accuracy {percent(base['balanced_accuracy'])}, kappa 0."
    )
    return made


def _referable(inputs: list[Shown]) -> Table:
    made = _new(
        "Referable DR (ICDR ≥ 2)",
        "shown to the model", "studies", "refer-\nable", "AUROC", "threshold",
        "sensi-\ntivity %", "speci-\nficity %",
    )  # fmt: skip
    for one in inputs:
        found = one.figures["referable"]
        points = found["operating_points"] or [None]
        for row, point in enumerate(points):
            head = [one.title, str(found["n"]), str(found["positives"]), cell(found["auroc"], share=False)]
            tail = ["–", Text("–"), Text("–")] if point is None else _point(point)
            made.add_row(*(head if row == 0 else [""] * len(head)), *tail)
    return made


def _patients(metrics: dict[str, Any]) -> Table:
    made = _new(
        "Patients, by their worst gradable photograph; undecided ones counted as referred, and as cleared",
        "shown to the model", "patients", "refer-\nable", "un-\ndecided", "quadratic\nkappa",
        "sensi-\ntivity %\nreferred", "speci-\nficity %\nreferred", "sensi-\ntivity %\ncleared", "speci-\nficity %\ncleared",
    )  # fmt: skip
    for name, found in metrics["patient_level"].items():
        made.add_row(
            metrics["grading"][name]["title"], str(found["patients"]), str(found["referable"]), str(found["undecided"]),
            cell(found["kappa"], share=False),
            *(cell(found[way][key]) for way in PATIENT_WAYS for key in ("sensitivity", "specificity")),
        )  # fmt: skip
    return made


def _point(point: dict[str, Any]) -> list[str | Text]:
    threshold = "by subset" if point["threshold"] is None else f"at {point['threshold']:.3f}"
    name = point["name"].replace("sensitivity>=", "se ≥ ").replace("specificity>=", "sp ≥ ")
    return [f"{name}\n{threshold}", cell(point["sensitivity"]), cell(point["specificity"])]


def _strict(protocols: dict[str, Any]) -> Table:
    made = _new(
        "Retrieval, strict: is the query's own study among the first K? In %",
        "protocol", "direction", "queries\n/ gallery", *(f"R@{k}" for k in KS),
    )  # fmt: skip
    for name, protocol in protocols.items():
        for key, words in _SHORT.items():
            found = protocol[key]
            if found is None:
                continue
            recalls = (cell(found["strict"]["recall"][str(k)]) for k in KS)
            made.add_row(name, words, f"{found['queries']}\n/ {found['gallery']}", *recalls)
        for key, words in (("ceiling", "best a note can do"), ("chance", "chance")):
            values = protocol["text_to_image"]["strict"][key]
            made.add_row("", Text(words, "italic"), "", *(Text(f"{100 * values[str(k)]:.1f}", "italic") for k in KS))
        made.add_section()
    return made


def _same_label(protocols: dict[str, Any]) -> Table:
    made = _new(
        "Retrieval, by label: is what was found labelled the same? In % (chance; best a note can do)",
        "protocol", "direction", "same", *(f"R@{k}" for k in KS), "mAP", f"nDCG@{NDCG_AT}",
    )  # fmt: skip
    for name, protocol in protocols.items():
        for key, words in _SHORT.items():
            for label, found in (protocol[key] or {"labels": {}})["labels"].items():
                chance = found["chance"]
                best = found["best"] if key == "text_to_image" else {"recall": {}, "map": None, "ndcg": None}
                cells = [_beside(found["recall"][str(k)], chance["recall"][str(k)], best["recall"].get(str(k))) for k in KS]
                cells += [_beside(found[one], chance[one], best[one]) for one in ("map", "ndcg")]
                made.add_row(name, words, label, *cells)
        made.add_section()
    return made


def _beside(figure: dict[str, Any], chance: float | None, best: float | None) -> Text:
    """A figure with what chance would give and the best there is, its interval left to the report."""
    if figure["value"] is None or chance is None:
        return Text("–", style="dim")
    return Text(f"{100 * figure['value']:.1f}", style="bold").append(
        f"\n({100 * chance:.1f}{'' if best is None else f'; {100 * best:.3g}'})", style="not bold dim"
    )
