"""The report's figures as SVG: ROC, reliability, subgroups, retrieval. Reads metrics; computes nothing.

matplotlib's object interface alone: no display, no global state. Colours are Okabe and Ito's, which the
colour-blind can tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal_train.evaluation.retrieval import KS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8a8f98"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, "#56B4E9", "#000000", "#a6761d", "#666666")
FEW = 5
"""Studies of a bin below which a reliability diagram draws a hollow dot and no line."""
_MOST = 1.01
"""Kappa and AUROC end at 1; the dot needs room."""
_LEAST_SPAN = 0.1
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": "#3c4450",
    "xtick.color": "#5b6470",
    "ytick.color": "#5b6470",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "svg.fonttype": "path",  # the reader's machine need not have our fonts
    "svg.hashsalt": "foveal",  # the same metrics give the same bytes
}


def _figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _svg(draw: Any) -> bytes:
    """Draw under our style and render."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure: Figure = draw()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return buffer.getvalue()


def roc(curves: Sequence[tuple[str, dict[str, Any]]]) -> bytes | None:
    """ROC curves of referable DR, operating points of each as dots; None when none has a curve.

    Args:
        curves: title and `referable` figures of each input.
    """
    shown = [(title, found) for title, found in curves if found["roc"]]
    if not shown:
        return None

    def draw() -> Figure:
        figure, (axes,) = _figure(4.8, 4.9 + 0.25 * len(shown))
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        for (title, found), colour in zip(shown, COLOURS, strict=False):
            label = f"{title.replace(' = ', chr(10) + '= ')}  ({found['auroc']['value']:.3f})"
            axes.plot(
                found["roc"]["false_positive_rate"], found["roc"]["true_positive_rate"], color=colour, lw=1.6, label=label
            )
            for point in found["operating_points"]:
                sensitivity, specificity = point["sensitivity"]["value"], point["specificity"]["value"]
                if sensitivity is not None and specificity is not None:
                    axes.plot(1 - specificity, sensitivity, "o", color=colour, ms=5, mec="white", mew=0.8)
        axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
        figure.legend(loc="outside lower left", title="shown to the model (AUROC)", fontsize=8.5, title_fontsize=8.5)
        return figure

    return _svg(draw)


def reliability(panels: Sequence[tuple[str, Sequence[tuple[str, list[dict[str, Any]]]]]]) -> bytes:
    """Reliability diagrams.

    Args:
        panels: title and curves (label, bins) of each diagram.
    """

    def draw() -> Figure:
        figure, every = _figure(2.9 * len(panels) + 0.2, 3.4, columns=len(panels))
        for axes, (title, curves) in zip(every, panels, strict=True):
            axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
            for (label, bins), colour in zip(curves, (ORANGE, BLUE) if len(curves) > 1 else (BLUE,), strict=True):
                most = max((b["n"] for b in bins), default=1)
                many = [b for b in bins if b["n"] >= FEW]
                # A line through bins of one or two studies would draw zigzags that mean nothing.
                axes.plot([b["predicted"] for b in many], [b["observed"] for b in many], color=colour, lw=1.2, label=label)
                for b in bins:
                    face = colour if b["n"] >= FEW else "white"
                    size = 10 + 50 * b["n"] / most
                    axes.scatter(b["predicted"], b["observed"], s=size, facecolor=face, edgecolor=colour, alpha=0.75, lw=0.8)
            axes.set(title=title, xlabel="predicted probability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        every[0].set_ylabel("how often it was so")
        two = next((axes for axes, (_, curves) in zip(every, panels, strict=True) if len(curves) > 1), None)
        if two is not None:
            figure.legend(*two.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=8)
        return figure

    return _svg(draw)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForestRow:
    """One line of a forest plot; an empty label is a gap."""

    label: str
    n: int = 0
    figures: tuple[dict[str, Any], dict[str, Any]] = ({}, {})


def forest(rows: Sequence[ForestRow], titles: tuple[str, str]) -> bytes:
    """Two figures by subgroup with their intervals.

    Args:
        rows: the first one is everyone, drawn as a band.
        titles: of the two columns.
    """

    def draw() -> Figure:
        figure, every = _figure(8.2, 0.27 * len(rows) + 0.9, columns=2)
        places = list(range(len(rows)))[::-1]
        for column, axes in enumerate(every):
            reference = rows[0].figures[column]
            if reference.get("interval"):
                axes.axvspan(*reference["interval"], color=BLUE, alpha=0.10, lw=0)
            if reference.get("value") is not None:
                axes.axvline(reference["value"], color=BLUE, lw=0.8, ls=":")
            for place, row in zip(places, rows, strict=True):
                found = row.figures[column]
                if found.get("value") is None:
                    continue
                colour = BLUE if place == places[0] else "#3c4450"
                if found["interval"]:
                    axes.plot(found["interval"], [place, place], color=colour, lw=1.3)
                axes.plot(found["value"], place, "o", color=colour, ms=4.5, mfc=colour if found["interval"] else "white")
            axes.set(title=titles[column], ylim=(-0.7, len(rows) - 0.3))
            low, high = axes.get_xlim()
            if high - low < _LEAST_SPAN:  # a constant answer has no spread: matplotlib would show its rounding error
                low, high = (low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2
            axes.set_xlim(low, min(high, _MOST))
            axes.grid(axis="x", color="#e4e7eb", lw=0.7)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
            axes.spines["left"].set_visible(False)
            axes.set_yticks(places, [f"{row.label}  ({row.n})" if row.label else "" for row in rows])
            if column:
                axes.set_yticklabels([])
        return figure

    return _svg(draw)


def recalls(protocols: dict[str, dict[str, Any]]) -> bytes:
    """Strict recall of a note among photographs, both protocols, with the ceiling of a text-only query."""

    def draw() -> Figure:
        figure, every = _figure(3.2 * len(protocols) + 0.4, 3.3, columns=len(protocols))
        for axes, (name, protocol) in zip(every, protocols.items(), strict=True):
            for offset, key, colour, words in (
                (-0.18, "text_to_image", BLUE, "note → photograph"),
                (0.18, "image_to_text", ORANGE, "photograph → note"),
            ):
                found = [protocol[key]["strict"]["recall"][str(k)] for k in KS]
                heights = [100 * (f["value"] or 0) for f in found]
                spread = [[100 * abs(f["value"] - f["interval"][i]) if f["interval"] else 0 for f in found] for i in (0, 1)]
                places = [i + offset for i in range(len(KS))]
                axes.bar(places, heights, 0.34, color=colour, label=words)
                axes.errorbar(places, heights, spread, fmt="none", ecolor="#3c4450", elinewidth=1, capsize=2)
            for i, k in enumerate(KS):
                ceiling = 100 * protocol["text_to_image"]["strict"]["ceiling"][str(k)]
                axes.plot([i - 0.42, i + 0.42], [ceiling, ceiling], color=RED, lw=1.6, label=None if i else "ceiling of a note")
            axes.set(title=f"{name} protocol", ylim=(0, 104), xlim=(-0.6, len(KS) - 0.4))
            axes.set_xticks(range(len(KS)), [f"R@{k}" for k in KS])
        every[0].set_ylabel("strict recall, %")
        figure.legend(*every[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=8)
        return figure

    return _svg(draw)
