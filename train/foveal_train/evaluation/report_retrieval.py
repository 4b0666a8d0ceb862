"""The report's section on retrieval: both protocols in words, the ceiling beside every recall. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from foveal_train.evaluation import page, plots
from foveal_train.evaluation.retrieval import KS, NDCG_AT
from foveal_train.evaluation.table import DIRECTIONS
from foveal_train.evaluation.warn import percent

_UNKNOWN: dict[str, Any] = {"recall": {}, "map": None, "ndcg": None}
"""A photograph as a query has no such bound."""
_LABELS = {"findings": "same findings", "note": "same note", "icdr": "same ICDR grade"}


def retrieval_section(metrics: Mapping[str, Any]) -> str:
    """HTML; "" when text was never trained."""
    protocols = {name: one for name, one in (metrics["retrieval"] or {}).items() if one is not None}
    if not protocols:
        return ""
    described = "".join(
        f"<li><b>{escape(name)}</b>: {escape(one['description'])}"
        + (" <b>Training did not align these vectors.</b>" if one["aligned"] is False else "")
        + "</li>"
        for name, one in protocols.items()
    )
    figure = page.image(
        plots.recalls(protocols),
        alt="Strict recall of both protocols with the ceiling",
        caption="Red: the best that any model can do which knows the note alone. A bar above it can only come from the leak.",
        width=310 * len(protocols) + 40,
        wide=len(protocols) > 1,
    )
    return (
        f"<p>{_ceiling_in_words(next(iter(protocols.values())))}</p><ul>{described}</ul>"
        "<h3>Strict: is the query's own study among the first K?</h3>" + figure + _strict(protocols)
        + "<h3>By label: has what was found the same label?</h3>" + _labels(protocols)
    )  # fmt: skip


def _ceiling_in_words(protocol: Mapping[str, Any]) -> str:
    found = protocol["text_to_image"]
    ceiling = ", ".join(f"{percent(found['strict']['ceiling'][str(k)])} at R@{k}" for k in KS)
    return (
        f"{found['queries']} studies have a note and a photograph, but only {found['distinct_notes']} notes differ. A query "
        f"that shares its note with others can't know which photograph is its own, so its strict recall is at most the "
        f"ceiling: {ceiling}. Ties count in expectation."
    )


def _strict(protocols: Mapping[str, Any]) -> str:
    rows, reference = [], []
    for name, protocol in protocols.items():
        for key, words in DIRECTIONS.items():
            found = protocol[key]
            recalls = (page.cell(found["strict"]["recall"][str(k)]) for k in KS)
            rows.append([escape(name), words, str(found["queries"]), str(found["gallery"]), *recalls])
    first = next(iter(protocols.values()))["text_to_image"]["strict"]
    for key, words in (("ceiling", "best a note alone can do"), ("chance", "chance")):
        reference.append([words, "", "", "", *(f"{100 * first[key][str(k)]:.1f}" for k in KS)])
    head = ["protocol", "direction", "queries", "gallery", *(f"R@{k} %" for k in KS)]
    return page.table(head, rows, words=2, reference=reference)


def _labels(protocols: Mapping[str, Any]) -> str:
    rows = []
    for name, protocol in protocols.items():
        for key, words in DIRECTIONS.items():
            for label, found in protocol[key]["labels"].items():
                chance, best = found["chance"], found["best"] if key == "text_to_image" else _UNKNOWN
                cells = [_beside(found["recall"][str(k)], chance["recall"][str(k)], best["recall"].get(str(k))) for k in KS]
                cells += [_beside(found[one], chance[one], best[one]) for one in ("map", "ndcg")]
                rows.append([escape(name), words, escape(_LABELS.get(label, label)), *cells])
    caption = (
        "Each cell: the figure, its interval, what a random order would give, and the best that a query can do which knows "
        f"its note alone. nDCG is of the first {NDCG_AT}, its gain the overlap (Jaccard) of findings where data names them. "
        "The query's own study counts as a hit."
    )
    head = ["protocol", "direction", "relevant is", *(f"R@{k} %" for k in KS), "mAP %", "nDCG %"]
    return page.table(head, rows, words=3, caption=caption)


def _beside(figure: dict[str, Any], chance: float | None, best: float | None) -> str:
    marks = [f"{word} {100 * value:.1f}" for word, value in (("chance", chance), ("best", best)) if value is not None]
    return page.cell(figure) + (f"<small>{' · '.join(marks)}</small>" if marks else "")
