"""The report's sections on grading: referable DR, grades, calibration, subgroups. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from foveal_runtime.study.labels import CLASSES, ICDR
from foveal_train.evaluation import page, plots
from foveal_train.evaluation.patients import WAYS
from foveal_train.evaluation.shown import Shown, judged, main_inputs, shown_inputs
from foveal_train.evaluation.subgroups import ATTRIBUTES

_SHOWN = "shown to the model"


def _title(one: Shown) -> str:
    return escape(one.title) + ("<small>the note names the label</small>" if one.reads_label else "")


def _tables(
    head: Sequence[str],
    inputs: Sequence[Shown],
    table_rows: Callable[[Shown], list[list[str]]],
    *,
    reference: Sequence[Sequence[str]] = (),
) -> str:
    """A table of the four inputs that matter, the further subsets folded away below."""
    main = [one for one in inputs if one.main] or list(inputs)
    further = [one for one in inputs if one not in main]
    text = page.table(head, [row for one in main for row in table_rows(one)], reference=reference)
    if further:
        more = page.table(head, [row for one in further for row in table_rows(one)])
        text += f"<details><summary>Further trained subsets ({len(further)})</summary>{more}</details>"
    return text


def referable_section(metrics: Mapping[str, Any]) -> str:
    """HTML; "" without the ICDR head."""
    inputs = shown_inputs(metrics, ICDR)
    if not inputs:
        return ""

    def table_rows(one: Shown) -> list[list[str]]:
        found = one.figures["referable"]
        lead = [_title(one), str(found["n"]), str(found["positives"]), page.cell(found["auroc"], share=False)]
        points = found["operating_points"] or [None]
        return [[*(lead if i == 0 else [""] * len(lead)), *_point(point)] for i, point in enumerate(points)]

    head = (_SHOWN, "studies", "referable", "AUROC", "operating point", "threshold", "sensitivity %", "specificity %")
    text = "<p>Referable DR is ICDR grade 2 or worse. The model refers when its calibrated probability reaches the threshold. "
    text += "Thresholds were fitted on validation patients, one for each set of inputs; the first is the default.</p>"
    curves = [(one.title, one.figures["referable"]) for one in main_inputs(metrics, ICDR)]
    return (
        text
        + _in_words(metrics)
        + _tables(head, inputs, table_rows)
        + page.image(
            plots.roc(curves),
            alt="ROC curves of referable DR",
            caption="Dots are the operating points, which were fitted on validation and so need not meet their names here.",
            width=480,
        )
    )


def _point(point: dict[str, Any] | None) -> list[str]:
    if point is None:
        return ["none", "–", "–", "–"]
    threshold = "by subset" if point["threshold"] is None else f"{point['threshold']:.3f}"
    name = escape(point["name"].replace(">=", "\u00a0≥\u00a0")) + ("" if point["fitted"] else "<small>not fitted</small>")
    return [name, threshold, page.cell(point["sensitivity"], show_n=True), page.cell(point["specificity"], show_n=True)]


def _in_words(metrics: Mapping[str, Any]) -> str:
    chosen = judged(metrics, ICDR)
    points = chosen[1]["referable"]["operating_points"] if chosen else []
    if chosen is None or not points or points[0]["sensitivity"]["value"] is None or points[0]["specificity"]["value"] is None:
        return ""
    found, missed = 100 * points[0]["sensitivity"]["value"], 100 * (1 - points[0]["specificity"]["value"])
    span = page.span(points[0]["sensitivity"])
    return (
        f"<p><b>In words</b>, shown the {escape(chosen[0])}: of 100 eyes with referable DR the default threshold refers "
        f"{found:.0f}{f' ({span})' if span else ''}; of 100 eyes without, it refers "
        f"{'fewer than 1' if 0 < missed < 0.5 else f'{missed:.0f}'} for nothing.</p>"
    )


def patient_section(metrics: Mapping[str, Any]) -> str:
    """HTML; "" where the data name no patients."""
    found = metrics.get("patient_level", {})
    if not found:
        return ""
    rows = []
    for name, one in found.items():
        counts = [str(one[key]) for key in ("patients", "referable", "without_gradable", "undecided")]
        ways = [page.cell(one[way][key]) for way in WAYS for key in ("sensitivity", "specificity")]
        rows.append([escape(metrics["grading"][name]["title"]), *counts, page.cell(one["kappa"], share=False), *ways])
    figures = [f"{key} %, undecided {word}" for word in WAYS.values() for key in ("sensitivity", "specificity")]
    columns = [_SHOWN, "patients", "referable", "without a gradable photograph", "undecided", "kappa", *figures]
    return (
        "<p>A patient is referred when any gradable photograph is, at the default threshold; gradable is what the server's own "
        "check lets pass. Nothing is decided about a patient of whom some photograph can't be graded and no other is "
        "referable: counted as referred, as programmes do, and as cleared, which is the worst that could come of it. The true "
        "grade is the worst of all labelled photographs; kappa is of the worst gradable one.</p>" + page.table(columns, rows)
    )


def grading_section(metrics: Mapping[str, Any], head: str) -> str:
    """HTML of one head; "" without figures for it."""
    inputs = shown_inputs(metrics, head)
    if not inputs:
        return ""
    base = inputs[0].figures["majority"]

    def table_rows(one: Shown) -> list[list[str]]:
        found = one.figures
        cells = [page.cell(found[key]) for key in ("accuracy", "above_majority", "balanced_accuracy")]
        beside = (page.cell(found[key], share=False) for key in ("kappa", "macro_auroc"))
        return [[_title(one), str(found["n"]), *cells, *beside]]

    def recalls_of(one: Shown) -> list[list[str]]:
        return [[_title(one), *(page.cell(figure, show_n=True) for figure in one.figures["recall"])]]

    balanced = f"{100 * base['balanced_accuracy']:.1f}"
    always = [f"always grade {base['grade']}", "", page.cell(base["accuracy"]), "0.0", balanced, "0.000", "0.500"]
    names = metrics.get("classes", CLASSES)[head]
    grades = "; ".join(name if name.startswith("R") else f"{grade} {name}" for grade, name in enumerate(names))
    matrices = "".join(page.matrix(one.figures["confusion"], title=one.title) for one in main_inputs(metrics, head))
    columns = (
        _SHOWN,
        "studies",
        "accuracy %",
        "above majority, points",
        "balanced accuracy %",
        "quadratic kappa",
        "macro AUROC",
    )
    return (
        _tables(columns, inputs, table_rows, reference=[always])
        + f'<p class="note">Grades: {escape(grades)}.</p><h3>Recall of each grade, %</h3>'
        + _tables((_SHOWN, *(f"grade {grade}" for grade in range(len(names)))), inputs, recalls_of)
        + '<h3>Confusion matrices</h3><p class="note">Rows are true grades with their studies; a cell holds the count and the '
        f'share of its row.</p><div class="row">{matrices}</div>'
    )


def calibration_section(metrics: Mapping[str, Any]) -> str:
    """HTML; "" without any graded study."""
    tables = ""
    for head in metrics["heads"]:
        inputs = shown_inputs(metrics, head)
        if not inputs:
            continue

        def table_rows(one: Shown) -> list[list[str]]:
            found = one.figures
            cells = [page.cell(found["ece"][key]) for key in ("before", "after")]
            referable = [page.cell(found["referable"]["ece"])] if "referable" in found else []
            return [[_title(one), str(found["n"]), _temperatures(found["temperature"]), *cells, *referable]]

        columns = [_SHOWN, "studies", "temperature", "ECE before %", "ECE after %"]
        columns += ["ECE referable %"] if "referable" in inputs[0].figures else []
        tables += f"<h3>{head.upper()}</h3>{_tables(columns, inputs, table_rows)}"
    if not tables:
        return ""
    panels: list[tuple[str, tuple[tuple[str, list[dict[str, Any]]], ...]]] = []
    for one in main_inputs(metrics, ICDR)[-2:]:
        bins = one.figures["reliability"]
        name = one.title.split(" = ")[-1]
        panels.append((f"ICDR, {name}", (("before", bins["before"]), ("after", bins["after"]))))
        panels.append((f"referable, {name}", (("after", one.figures["referable"]["reliability"]),)))
    figure = page.image(
        plots.reliability(panels) if panels else None,
        alt="Reliability diagrams",
        caption="On the dotted line a probability means what it says. Larger dots hold more studies, hollow ones under five.",
        width=245 * len(panels),
        wide=len(panels) > 1,
    )
    return (
        "<p>Temperature scaling was fitted on validation patients for each head and each set of inputs. ECE is the mean gap "
        "between the probability of the answered grade and how often that answer was right, over ten bins; it grows with "
        "noise, so that even a perfectly calibrated model has some on few studies.</p>" + figure + tables
    )


def _temperatures(by_subset: dict[str, float]) -> str:
    values = sorted({f"{value:.2f}" for value in by_subset.values()})
    return "none" if not values else " to ".join(dict.fromkeys((values[0], values[-1])))


def subgroup_section(metrics: Mapping[str, Any]) -> str:
    """HTML; says so when the data names no subgroups."""
    found = metrics["subgroups"]
    head = ICDR if ICDR in metrics["heads"] else next(iter(metrics["heads"]), ICDR)
    if not found:
        return "<p>The data names no sex, age, eye or camera by which studies could be compared.</p>"
    text = "<p>The same thresholds throughout. Overlapping intervals are no proof of equality: small groups can't show a "
    text += "gap.</p>"
    for name, attributes in found.items():
        everyone = metrics["grading"][name]["heads"][head]
        second = "referable" in everyone
        whole = (everyone["kappa"], everyone["referable"]["auroc"] if second else everyone["balanced_accuracy"])
        drawn = [plots.ForestRow(label="everyone", n=everyone["n"], figures=whole)]
        rows = []
        for attribute in (a for a in ATTRIBUTES if a in attributes):
            drawn.append(plots.ForestRow(label=""))
            for value, group in attributes[attribute].items():
                pair = (group["kappa"], group["auroc"] if second else group["balanced_accuracy"])
                drawn.append(plots.ForestRow(label=f"{attribute}: {value}", n=group["n"], figures=pair))
                counts = (str(group["n"]), str(group["patients"]), str(group.get("positives", "")))
                figures = [page.cell(group["balanced_accuracy"]), page.cell(group["kappa"], share=False)]
                figures += [page.cell(group.get("auroc"), share=False)]
                figures += [page.cell(group.get(key)) for key in ("sensitivity", "specificity")]
                rows.append([attribute, escape(value), *counts, *figures])
        titles = ("quadratic kappa", "AUROC of referable DR" if second else "balanced accuracy")
        counted = ("", "subgroup", "studies", "patients", "referable")
        columns = (*counted, "balanced accuracy %", "kappa", "AUROC", "sensitivity %", "specificity %")
        text += f"<h3>Shown: {escape(metrics['grading'][name]['title'])}</h3>"
        text += page.image(plots.forest(drawn, titles), alt=f"Subgroups: {titles[0]} and {titles[1]}", wide=True)
        text += f"<details><summary>All figures by subgroup</summary>{page.table(columns, rows, words=2)}</details>"
    return text
