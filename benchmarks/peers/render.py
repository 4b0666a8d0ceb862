"""A run's JSON as Markdown tables and as a plot of goodput and tail against load. Measures nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.compare import BEST, FOVEAL

_COLOURS = {FOVEAL: "#1f6feb", "triton": "#5a9e1a", "bentoml": "#b5467f", "litserve": "#7a4fd0", "ray": "#d07a1f"}


def read(path: Path) -> dict[str, Any]:
    """A run's document."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_tables(found: dict[str, Any]) -> str:
    """Markdown: what each server did, foveal against the best peer, and what happens under overload."""
    servers, size = list(found["overload"]), found["size_px"]
    loads = list(found["turns"][0][FOVEAL]["open"][str(size)])
    rows = {
        "ready, s": "start_s",
        "memory, MB": "memory_peak_mb",
        "cores when idle": "idle_cores",
        "work done for callers that left": "work_done_for_callers_that_left",
        **{f"{each} px, closed loop, a second": f"{each} px, closed, answers_per_s" for each in found["kilobytes"]},
        f"{size} px, CPU an answer, ms": f"{size} px, closed, cpu_ms_an_answer",
        **{f"goodput at {load} %, a second": f"{size} px, {load} %, goodput_per_s" for load in loads},
        **{f"p50 at {load} %, ms": f"{size} px, {load} %, p50_ms" for load in loads if int(load) <= 100},
        **{f"p99 at {load} %, ms": f"{size} px, {load} %, p99_ms" for load in loads if int(load) <= 100},
    }
    lines = [_row(["", *servers, "foveal over the best peer"]), _row(["---"] * (len(servers) + 2))]
    for label, key in rows.items():
        cells = [_cell(found["figures"][key][server]) for server in servers]
        lines.append(_row([label, *cells, _cell(found["foveal_over"][key].get(BEST, {"median": None}), ranged=True)]))
    lines += ["", _row(["at the highest load", "said", "share", "p50, ms", "p99, ms"]), _row(["---"] * 5)]
    for server in servers:
        told = found["overload"][server]
        for code, each in told["refused"].items():
            lines.append(_row([server, code, f"{each['share']:.1%}", f"{each['p50_ms']:g}", f"{each['p99_ms']:g}"]))
        lines.append(_row([server, "nothing before callers left", f"{told['share_that_left']:.1%}", "", ""]))
    about = (
        f"Bundle {found['bundle']}, {len(found['cores'])} cores, {len(found['turns'])} turns, {found['date']}; loads are "
        f"percents of {found['capacity_per_s'][str(size)]:g} a second, photographs of {size} px; medians, and ranges of ratios."
        f" The engine alone, without a server: {_cell(found['alone_per_s'])} a second."
    )
    return "\n".join([about, "", *lines, ""])


def write_plot(found: dict[str, Any], target: Path) -> None:
    """SVG: goodput and 99th percentile against load, a line a server, quartiles as bands.

    Args:
        found: a run's document.
        target: the file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "foveal"  # the same picture from the same figures
    from matplotlib import pyplot

    size = found["size_px"]
    loads = [int(load) for load in found["turns"][0][FOVEAL]["open"][str(size)]]
    figure, (goodput, tail) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for server in found["overload"]:
        for axes, what, shown in ((goodput, "goodput_per_s", loads), (tail, "p99_ms", [each for each in loads if each <= 100])):
            spreads = [found["figures"][f"{size} px, {load} %, {what}"][server] for load in shown]
            known = [(load, each) for load, each in zip(shown, spreads, strict=True) if each["median"] is not None]
            at, colour = [load for load, _ in known], _COLOURS.get(server)
            axes.plot(at, [each["median"] for _, each in known], marker="o", color=colour, label=server)
            low, high = ([each["quartiles"][side] for _, each in known] for side in (0, 1))
            axes.fill_between(at, low, high, color=colour, alpha=0.15)
    capacity = found["capacity_per_s"][str(size)]
    goodput.plot([0, 100, max(loads)], [0, capacity, capacity], color="#8a94a3", linestyle=":", label="capacity of foveal")
    goodput.set(xlabel="load, % of foveal's capacity", ylabel=f"right answers within {found['deadline_ms']:g} ms, a second")
    tail.set(xlabel="load, % of foveal's capacity", ylabel="99th percentile from the planned arrival, ms", yscale="log")
    goodput.set_ylim(bottom=0)
    goodput.legend(fontsize="small")
    figure.savefig(target, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(found: dict[str, Any], *, ranged: bool = False) -> str:
    """A median; its range as well where that is wanted, and how many turns had none."""
    if found["median"] is None:
        return "none"
    text = f"{found['median']:.3g}" if found["median"] < 1000 else f"{found['median']:.0f}"
    if ranged:
        low, high = found["range"]
        text += f" ({low:.3g} to {high:.3g})"
    return text + (f", {found['missing']} without" if found["missing"] else "")
