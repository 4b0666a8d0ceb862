"""The report's sections on grading: referable DR, grades, calibration, subgroups. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from foveal_runtime.labels import GRADE_NAMES, Head
from foveal_train.evaluation import page, plots
from foveal_train.evaluation.inputs import FULL, MAIN_INPUTS, PHOTOGRAPH, PHOTOGRAPH_AND_RECORD, WITHOUT_DR
from foveal_train.evaluation.subgroups import ATTRIBUTES

ICDR = Head.ICDR.value


def _inputs(metrics: Mapping[str, Any], head: str, *, main: bool = False) -> dict[str, dict[str, Any]]:
    """Inputs with figures for a head, each shown once; with `main` the four of the design, or all where none is there."""
    able = {name: one for name, one in metrics["grading"].items() if one["same_as"] is None and head in one["heads"]}
    chosen = {name: one for name, one in able.items() if name in MAIN_INPUTS}
    return (chosen or able) if main else able


def judged(metrics: Mapping[str, Any], head: str) -> tuple[str, dict[str, Any]] | None:
    """The input by which the model should be judged: the photograph where it was trained alone, else the next best."""
    grading = metrics["grading"]
    for name in (PHOTOGRAPH, PHOTOGRAPH_AND_RECORD, WITHOUT_DR, FULL, *grading):
        if name in grading and head in grading[name]["heads"]:
            return str(grading[name]["title"]), grading[name]["heads"][head]
    return None


def referable_section(metrics: Mapping[str, Any]) -> str:
    inputs = _inputs(metrics, ICDR, main=True)
    if not inputs:
        return ""
    rows = []
    for one in _inputs(metrics, ICDR).values():
        found = one["heads"][ICDR]["referable"]
        for i, point in enumerate(found["operating_points"] or [None]):
            first = i == 0
            lead = [
                escape(one["title"]) if first else "",
                f"{found['n']}" if first else "",
                f"{found['positives']}" if first else "",
                page.cell(found["auroc"], share=False) if first else "",
            ]
            rows.append([*lead, *_point(point)])
    head = [
        "shown to the model",
        "studies",
        "referable",
        "AUROC",
        "operating point",
        "threshold",
        "sensitivity %",
        "specificity %",
    ]
    text = "<p>Referable DR is ICDR grade 2 or worse. The model refers when its calibrated probability reaches the threshold. "
    text += "Thresholds were fitted on validation patients, one for each set of inputs; the first is the default.</p>"
    return (
        text
        + _in_words(metrics)
        + page.table(head, rows)
        + page.image(
            plots.roc(list(inputs.values())),
            alt="ROC curves of referable DR",
            caption="Dots are the operating points, which were fitted on validation and so need not meet their names here.",
            width=560,
        )
    )


def _point(point: dict[str, Any] | None) -> list[str]:
    if point is None:
        return ["none", "–", "–", "–"]
    threshold = "{:.3f}".format(point["threshold"]) if point["threshold"] is not None else "by subset"
    name = escape(point["name"]) + ("" if point["fitted"] else "<small>not fitted</small>")
    return [name, threshold, page.cell(point["sensitivity"], show_n=True), page.cell(point["specificity"], show_n=True)]


def _in_words(metrics: Mapping[str, Any]) -> str:
    chosen = judged(metrics, ICDR)
    points = chosen[1]["referable"]["operating_points"] if chosen else []
    if chosen is None or not points or points[0]["sensitivity"]["value"] is None or points[0]["specificity"]["value"] is None:
        return ""
    found, missed = 100 * points[0]["sensitivity"]["value"], 100 * (1 - points[0]["specificity"]["value"])
    return (
        f"<p><b>In words</b>, shown the {escape(chosen[0])}: of 100 eyes with referable DR the default threshold refers "
        f"{found:.0f} ({page.span(points[0]['sensitivity'])}); of 100 eyes without, it refers {missed:.0f} for nothing.</p>"
    )


def grading_section(metrics: Mapping[str, Any], head: str) -> str:
    inputs = _inputs(metrics, head)
    if not inputs:
        return ""
    base = next(iter(inputs.values()))["heads"][head]["majority"]
    rows, recalls = [], []
    for one in inputs.values():
        found = one["heads"][head]
        rows.append(
            [
                escape(one["title"]), str(found["n"]), page.cell(found["accuracy"]), page.cell(found["above_majority"]),
                page.cell(found["balanced_accuracy"]), page.cell(found["kappa"], share=False),
            ]
        )  # fmt: skip
        recalls.append([escape(one["title"]), *(page.cell(figure, show_n=True) for figure in found["recall"])])
    reference = [
        [
            f"always grade {base['grade']}",
            "",
            page.cell(base["accuracy"]),
            "0.0",
            f"{100 * base['balanced_accuracy']:.1f}",
            "0.000",
        ]
    ]
    grades = "; ".join(f"{grade} {name}" for grade, name in enumerate(GRADE_NAMES[Head(head)]))
    matrices = "".join(
        page.matrix(one["heads"][head]["confusion"], title=one["title"]) for one in _inputs(metrics, head, main=True).values()
    )
    main_head = [
        "shown to the model",
        "studies",
        "accuracy %",
        "above majority, points",
        "balanced accuracy %",
        "quadratic kappa",
    ]
    return (
        page.table(main_head, rows, reference=reference)
        + f'<p class="note">Grades: {escape(grades)}.</p>'
        + "<h3>Recall of each grade, %</h3>"
        + page.table(["shown to the model", *(f"grade {grade}" for grade in range(len(recalls[0]) - 1))], recalls)
        + '<h3>Confusion matrices</h3><p class="note">Rows are true grades with their studies; a cell holds the count and the '
        f'share of its row.</p><div class="row">{matrices}</div>'
    )


def calibration_section(metrics: Mapping[str, Any]) -> str:
    rows = []
    panels: list[tuple[str, tuple[tuple[str, list[dict[str, Any]]], ...]]] = []
    for head in metrics["heads"]:
        for one in _inputs(metrics, head).values():
            found = one["heads"][head]
            temperatures = sorted({round(value, 2) for value in found["temperature"].values()})
            shown = (
                "none"
                if not temperatures
                else " to ".join(f"{t:.2f}" for t in dict.fromkeys((temperatures[0], temperatures[-1])))
            )
            referable = found.get("referable", {}).get("ece")
            rows.append(
                [
                    head.upper(), escape(one["title"]), str(found["n"]), shown, page.cell(found["ece"]["before"]),
                    page.cell(found["ece"]["after"]), page.cell(referable) if referable else "",
                ]
            )  # fmt: skip
    if not rows:
        return ""
    for one in list(_inputs(metrics, ICDR, main=True).values())[-2:]:
        bins = one["heads"][ICDR]["reliability"]
        panels.append((f"ICDR, {one['title']}", (("before", bins["before"]), ("after", bins["after"]))))
        panels.append((f"referable, {one['title']}", (("after", one["heads"][ICDR]["referable"]["reliability"]),)))
    head_row = ["head", "shown to the model", "studies", "temperature", "ECE before %", "ECE after %", "ECE referable %"]
    figure = page.image(
        plots.reliability(panels) if panels else None,
        alt="Reliability diagrams",
        caption="On the dotted line a probability means what it says. Larger dots hold more studies.",
    )
    return (
        "<p>Temperature scaling was fitted on validation patients for each head and each set of inputs. ECE is the mean gap "
        "between the probability of the answered grade and how often that answer was right, over ten bins; it grows with "
        "noise, so that even a perfectly calibrated model has some on few studies.</p>"
        + figure
        + page.table(head_row, rows, words=2)
    )


def subgroup_section(metrics: Mapping[str, Any]) -> str:
    found = metrics["subgroups"]
    head = ICDR if ICDR in metrics["heads"] else next(iter(metrics["heads"]), ICDR)
    if not found:
        return "<p>The data names no sex, age, eye or camera by which studies could be compared.</p>"
    text = (
        "<p>The same thresholds throughout. Overlapping intervals are no proof of equality: small groups can't show a gap.</p>"
    )
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
                cells = [attribute, escape(value), str(group["n"]), str(group["patients"]), str(group.get("positives", ""))]
                cells += [page.cell(group["balanced_accuracy"]), page.cell(group["kappa"], share=False)]
                cells += [page.cell(group.get("auroc"), share=False)]
                rows.append([*cells, page.cell(group.get("sensitivity")), page.cell(group.get("specificity"))])
        titles = ("quadratic kappa", "AUROC of referable DR" if second else "balanced accuracy")
        columns = [
            "",
            "subgroup",
            "studies",
            "patients",
            "referable",
            "balanced accuracy %",
            "kappa",
            "AUROC",
            "sensitivity %",
            "specificity %",
        ]
        text += f"<h3>Shown: {escape(metrics['grading'][name]['title'])}</h3>"
        text += page.image(plots.forest(drawn, titles), alt=f"Subgroups: {titles[0]} and {titles[1]}")
        text += f"<details><summary>All figures by subgroup</summary>{page.table(columns, rows, words=2)}</details>"
    return text
