"""The paper's tables as bar charts, ours beside theirs, one SVG a table. Reads the filled tables; computes nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from foveal_train.evaluation.plots import BLUE, GREY


def chart(table: Mapping[str, Any]) -> bytes:
    """One table as SVG: a panel a column, a pair of bars a line; what was not measured has no bar."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    lines, columns = table["lines"], table["columns"]
    places = list(range(len(lines)))[::-1]
    # The same tables give the same bytes, and the reader's machine need not have our fonts.
    with mpl.rc_context({"svg.hashsalt": "foveal", "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(2.3 * len(columns) + 2.2, 0.42 * len(lines) + 1.2), layout="constrained")
        panels = figure.subplots(1, len(columns), squeeze=False).ravel()
        for number, (axes, column) in enumerate(zip(panels, columns, strict=True)):
            for place, line in zip(places, lines, strict=True):
                paper, ours = line["paper"][number], line["ours"][number]
                if paper is not None:
                    axes.barh(place + 0.19, paper, 0.36, color=GREY)
                if ours["value"] is not None:
                    axes.barh(place - 0.19, ours["value"], 0.36, color=BLUE)
                if ours["interval"]:
                    axes.plot(ours["interval"], [place - 0.19] * 2, color="#3c4450", lw=1)
            axes.set_yticks(places, [line["label"] for line in lines] if number == 0 else [""] * len(lines))
            axes.set_title(f"{column['title']}{', ' + column['unit'] if column['unit'] else ''}", fontsize=9)
            axes.set_ylim(-0.6, len(lines) - 0.4)
            if column["unit"] == "%":
                axes.set_xlim(0, 105)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(f"Table {table['number']}: {table['title']} (grey: paper, blue: ours)", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
