"""parity.html: the parity report as one page that a person reads in a minute. Compares nothing; see `parity`."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from foveal_export.parity.parity import Answers
from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.study.labels import ICDR
from foveal_train.evaluation import page

_OF_VECTORS = ("min_cosine", "outlier's cosine", "max_abs", "neighbour_overlap")
"""Limits that speak of one kind of vector."""


def html(
    document: Mapping[str, Any],
    reference: Mapping[str, Answers],
    artefact: Mapping[str, Answers],
    images: Mapping[str, bytes | None],
) -> str:
    """The page.

    Args:
        document: parity.json.
        reference: PyTorch's answers, for the scatter plots.
        artefact: the bundle's.
        images: photographs of the worst studies by id; empty unless they were asked for.
    """
    passed = document["passed"]
    verdict = '<span class="pass">passed</span>' if passed else '<span class="fail">failed</span>'
    parts = [
        f"<h1>Parity of {escape(document['profile'])} {document['precision'].upper()} with PyTorch: {verdict}</h1>",
        f'<p class="note">{document["studies"]} answers on {escape(document["source"])}; plans were searched on '
        f"{escape(document['searched_on'])}; alone against batch {document['neighbour_dependence']:.1e}.</p>",
    ]
    if document["failures"]:
        rows = [[f["subset"], f["quantity"], f"{f['got']:.6g}", f"{f['limit']:.6g}"] for f in document["failures"]]
        parts += ["<h2>Out of budget</h2>", _table(["subset", "quantity", "got", "limit"], rows)]
    parts += ["<h2>Vectors</h2>", _vectors(document), "<h2>Grades, as they are served</h2>", _heads(document)]
    parts += ["<h2>Do PyTorch's own grades mean anything?</h2>", _evidence(document)]
    parts += [_figure(_scatter(reference, artefact), "Logits, PyTorch across, artefact up; the line is agreement", wide=False)]
    parts += ["<h2>Worst studies</h2>", _worst(document, images)]
    drifted = [row for row in document["worst"] if row["drift"]]
    if drifted:
        parts.append(_figure(_drift(drifted), "Relative error behind every block, of the worst studies"))
    parts += ["<h2>Size and speed</h2>", _precisions(document), _graphs(document)]
    if document["variants"]:
        parts += ["<h2>Variants</h2>", _variants(document["variants"])]
    if document["tensorrt"]:
        built = document["tensorrt"]
        parts += [f"<h2>Engines of TensorRT {escape(built['parser'])}</h2>", _engines(built)]
    if document["saturation"]:
        parts += ["<h2>Processors without VNNI</h2>", _saturation(document["saturation"])]
    if document["schemes"]:
        rows = [
            [s["graph"], s["mode"] + (f" + smoothing {s['smooth']:g}" if s["smooth"] else ""), s["rule"],
             f"{s['relative_error']:.4f}", f"{s['ms']:.2f}", "chosen" if s["chosen"] else ""]
            for s in document["schemes"]
        ]  # fmt: skip
        parts += ["<h2>Schemes measured</h2>", _table(["graph", "scheme", "ranges", "error", "ms", ""], rows)]
    if document["frontier"]:
        parts += [
            "<h2>Precision given back</h2>",
            _frontier(document),
            _given_back(document),
            _figure(_frontier_plot(document), "Latency and error"),
        ]
    parts += ["<h2>Terms</h2>", page.glossary("cosine", "near-tie", "kappa", "AUROC", "sensitivity", "ECE")]
    return page.whole(f"foveal parity: {document['profile']} {document['precision']}", parts)


def _table(head: list[str], rows: list[list[str]]) -> str:
    marks = {"pass": '<span class="pass">pass</span>', "FAIL": '<span class="fail">FAIL</span>'}
    return page.table(head, [[marks.get(cell, escape(cell)) for cell in row] for row in rows])


def _engines(built: Mapping[str, Any]) -> str:
    """Engines of every graph, and what TensorRT's network consists of."""
    rows = []
    for name, graph in built["graphs"].items():
        tensors = ", ".join(f"{count} {kind}" for kind, count in graph["tensors"].items())
        for architecture, engine in graph["engines"].items():
            half = f"{engine['fp16_bytes'] / 1e6:.2f}" if "fp16_bytes" in engine else ""
            size, seconds = f"{engine['bytes'] / 1e6:.2f}", f"{engine['seconds']:.1f}"
            rows.append([name, architecture, size, half, seconds, str(sum(graph["layers"].values())), tensors])
    return _table(["graph", "architecture", "MB", "MB in FP16", "build s", "layers", "tensors by type"], rows)


def _verdict(document: Mapping[str, Any], subset: str, *quantities: str) -> str:
    """Whether one output kept its limits: the failures that name it decide."""
    missed = [f["quantity"] for f in document["failures"] if f["subset"] == subset]
    return "FAIL" if any(quantity in missed for quantity in quantities) else "pass"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _vectors(document: Mapping[str, Any]) -> str:
    rows = [
        [name, kind, str(part["studies"]), _number(v["mean_cosine"], 5), _number(v["min_cosine"], 5), f"{v['max_abs']:.2e}",
         _number(v["overlap"]), _number(v["cross_overlap"]),
         _verdict(document, name, *(f"{quantity} of {kind}" for quantity in _OF_VECTORS))]
        for name, part in document["subsets"].items()
        for kind, v in part["vectors"].items()
    ]  # fmt: skip
    head = ["subset", "vector", "studies", "mean cosine", "min cosine", "max |Δ|", "overlap", "overlap, FP32 index", ""]
    return _table(head, rows)


def _heads(document: Mapping[str, Any]) -> str:
    rows = []
    for name, part in document["subsets"].items():
        for head, h in part["heads"].items():
            referable = part["referable"] if head == ICDR else None
            rows.append(
                [name, head, _changes(h, part["studies"]), _number(h["max_abs_probability"]), *_both(h["kappa"]),
                 *(["", "", "", ""] if referable is None else [
                     _changes(referable, part["studies"]), f"{referable['shift']:+.4f}", *_both(referable["sensitivity"])]),
                 *_both(h["expected_calibration_error"]), _judged(document, name, head)]
            )  # fmt: skip
    head = ["subset", "head", "changed", "max |Δp|", "kappa PyTorch", "kappa", "referral changed", "mean Δp",
            "sensitivity PyTorch", "sensitivity", "ECE PyTorch", "ECE", ""]  # fmt: skip
    return _table(head, rows)


def _changes(part: Mapping[str, Any], studies: int) -> str:
    """Changed answers, and which of them were near-ties."""
    ties = f" ({part['near_ties']} near-ties)" if part["near_ties"] else ""
    return f"{part['flips']} of {studies}{ties}"


def _both(loss: Mapping[str, Any] | None) -> list[str]:
    return ["", ""] if loss is None else [_number(loss["reference"]), _number(loss["artefact"])]


def _judged(document: Mapping[str, Any], subset: str, head: str) -> str:
    """Verdict on one head; grades count where held-out studies show that PyTorch's mean anything."""
    quantities = [f"probability of {head}", f"outlier's probability of {head}"]
    if document["evidence"][subset][head]["status"] == Evidence.PROVEN.value:
        quantities += [f"{head}_flips", f"kappa_drop of {head}", f"calibration_rise of {head}"]
        quantities += ["referable_flips", "sensitivity_drop", "referable_shift"] if head == ICDR else []
        return _verdict(document, subset, *quantities)
    verdict = _verdict(document, subset, *quantities)
    return verdict if verdict == "FAIL" else "pass, grades not judged"


def _evidence(document: Mapping[str, Any]) -> str:
    rows = [
        [name, head, str(e["studies"]), str(e["positives"]), _above(e["kappa"], e["kappa_low"]),
         _above(e["auroc"], e["auroc_low"]), e["status"]]
        for name, heads in document["evidence"].items()
        for head, e in heads.items()
    ]  # fmt: skip
    return _table(["subset", "head", "held out", "positive", "kappa, from", "AUROC, from", ""], rows)


def _above(value: float | None, low: float | None) -> str:
    return "" if value is None else f"{value:.3f}, {low:.3f}"


def _worst(document: Mapping[str, Any], images: Mapping[str, bytes | None]) -> str:
    rows = [
        [
            escape(row["study"]) + _thumbnail(images.get(row["study"])),
            escape(row["subset"]),
            row["kind"],
            f"{row['cosine']:.5f}",
        ]
        for row in document["worst"]
    ]
    return page.table(["study", "subset", "vector", "cosine"], rows)


def _thumbnail(data: bytes | None) -> str:
    if not data:
        return ""
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (192, 192))
    image.thumbnail((96, 96))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG")
    return f'<br><img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _graphs(document: Mapping[str, Any]) -> str:
    rows = [[name, g["mode"], f"{g['bytes'] / 1e6:.2f}", ", ".join(g["kept"])] for name, g in document["graphs"].items()]
    timed = ", ".join(f"{name} {ms:.1f} ms" for name, ms in document["ms_per_study"].items())
    return _table(["graph", "mode", "MB", "blocks in floating point"], rows) + f"<p>One study, batch 1: {escape(timed)}.</p>"


def _precisions(document: Mapping[str, Any]) -> str:
    """Size and speed of each precision next to PyTorch's, of one run's measurement."""
    slowest = document["precisions"][0]["ms"]
    rows = [
        [p["name"], "" if p["bytes"] is None else f"{p['bytes'] / 1e6:.1f}", f"{p['ms']:.1f}", f"{slowest / p['ms']:.1f}x"]
        for p in document["precisions"]
    ]
    return _table(["", "MB", "ms a study", "against PyTorch"], rows)


def _saturation(entries: Mapping[str, Any]) -> str:
    """What 16-bit sums do: nothing, by construction, or what was simulated."""
    rows = []
    for name, entry in entries.items():
        worst = max(entry["simulated"], key=lambda row: row["relative_error"], default=None)
        verdict = "safe by construction" if entry["safe"] else f"{sum(r['share'] > 0 for r in entry['simulated'])} saturate"
        rows.append(
            [name, str(entry["products"]), f"{entry['largest_pair_sum']:,} of 32,767", verdict,
             "" if worst is None else worst["node"], "" if worst is None else f"{worst['share']:.2%}",
             "" if worst is None else f"{worst['relative_error']:.4f}"]
        )  # fmt: skip
    return _table(["graph", "INT8 products", "largest pair sum", "", "worst product", "pair sums beyond", "its error"], rows)


def _frontier(document: Mapping[str, Any]) -> str:
    rows = [
        [str(c["kept"]), _number(c["min_cosine"], 4), _number(c["neighbour_overlap"]), str(c["icdr_flips"]),
         str(c["failures"]), f"{c['ms']:.2f}", f"{c['bytes'] / 1e6:.2f}", ", ".join(c["blocks"])]
        for c in document["frontier"]
    ]  # fmt: skip
    return _table(["blocks kept", "min cosine", "overlap", "ICDR changed", "limits missed", "ms", "MB", "blocks"], rows)


def _given_back(document: Mapping[str, Any]) -> str:
    rows = [[each["block"], f"{each['ms']:+.2f}", f"{each['bytes'] / 1e3:+.1f}"] for each in document["given_back"]]
    return _table(["block in floating point", "ms a study", "kB"], rows)


def _variants(variants: Mapping[str, Any]) -> str:
    rows = [
        [graph, name, f"{each['bytes'] / 1e6:.2f}", each["scheme"], _number(each["parity"]["min_cosine"], 5)]
        for graph, there in variants.items()
        for name, each in there.items()
    ]
    return _table(["graph", "variant", "MB", "arithmetic", "least cosine"], rows)


def _figure(png: bytes, caption: str, *, wide: bool = True) -> str:
    return page.figure(png, media="image/png", alt=caption, caption=caption, wide=wide)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _scatter(reference: Mapping[str, Answers], artefact: Mapping[str, Answers]) -> bytes:
    from matplotlib.figure import Figure

    heads = list(dict.fromkeys(head for answers in reference.values() for head in answers.logits))
    figure = Figure(figsize=(4.2 * max(len(heads), 1), 3.8), layout="constrained")
    for place, head in enumerate(heads):
        axes = figure.add_subplot(1, len(heads), place + 1)
        x = np.concatenate([answers.logits[head].reshape(-1) for answers in reference.values()])
        y = np.concatenate([answers.logits[head].reshape(-1) for answers in artefact.values()])
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        axes.plot([low, high], [low, high], color="#9aa5b4", linewidth=1)
        axes.scatter(x, y, s=5, alpha=0.4, color="#1f5fa8")
        axes.set_title(head)
    return _png(figure)


def _drift(rows: list[Mapping[str, Any]]) -> bytes:
    from matplotlib.figure import Figure

    names = max(([*row["drift"]] for row in rows), key=len)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        axes.plot([row["drift"].get(name, np.nan) for name in names], marker=".", label=row["study"])
    axes.set_xticks(range(len(names)), [name.replace("backbone.", "") for name in names], rotation=75, fontsize=7)
    axes.legend(fontsize=7)
    return _png(figure)


def _frontier_plot(document: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    points = document["frontier"]
    axes.plot([c["ms"] for c in points], [1 - c["mean_cosine"] for c in points], marker="o", color="#1f5fa8")
    for c in points:
        axes.annotate(str(c["kept"]), (c["ms"], 1 - c["mean_cosine"]), textcoords="offset points", xytext=(4, 4), fontsize=8)
    axes.set_xlabel("ms a study")
    axes.set_ylabel("1 - mean cosine")
    return _png(figure)
