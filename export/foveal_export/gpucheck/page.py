"""The check's document as one page that can be sent back. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from foveal_train.evaluation.page import table, warning_box, whole


def html(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: gpu-check.json.
    """
    facts = document["machine"]
    cards = ", ".join(facts["gpus"]) or "no GPU"
    parts = [
        f"<h1>foveal gpu-check: {escape(cards)}</h1>",
        f'<p class="lead">{escape(document["date"])}, foveal {escape(facts["foveal"])}, {escape(facts["processor"]["class"])}, '
        f"{facts['processor']['cores']} cores, {escape(facts['onnxruntime'])}, PyTorch {escape(facts['torch']['version'])}</p>",
        warning_box("What the GPU's half lacks", document["missing"]),
        "<h2>Providers</h2>",
        table(
            ["provider", "can be used here"],
            [[escape(name), escape(reason) or "yes"] for name, reason in document["providers"].items()],
            words=2,
        ),
        "<h2>Bundles</h2>",
        _bundles(document),
        "<h2>Speed, milliseconds a study</h2>",
        _speed(document),
        "<h2>Training</h2>",
        _training(document),
    ]
    return whole("foveal gpu-check", parts)


def _bundles(document: Mapping[str, Any]) -> str:
    rows = []
    for row in document["rows"]:
        test = row.get("self_test") or {}
        rows.append(
            [
                escape(row["bundle"]),
                escape(row["provider"]),
                f"<b>{escape(row['status'])}</b>",
                escape(row.get("why", "")),
                _number(row.get("compile_s"), 1),
                _number(None if "bytes" not in row else row["bytes"] / 1e6, 1),
                _number(test.get("min_cosine"), 5),
                _number(test.get("max_abs_probability"), 4),
                str(test.get("icdr_flips", "")),
                str(test.get("referable_flips", "")),
            ]
        )
    head = ["bundle", "provider", "golden replay", "why", "compiled, s", "MB", "min cosine", "max |Δp|", "ICDR", "referable"]
    return table(head, rows, words=4)


def _speed(document: Mapping[str, Any]) -> str:
    batches = document["batches"]
    rows = [
        [
            escape(row["bundle"]),
            escape(row["provider"]),
            *(_number(row["ms_per_study"].get(str(batch)), 2) for batch in batches),
        ]
        for row in document["rows"]
        if row.get("ms_per_study")
    ]
    reference = [
        [escape(row["what"]), escape(row["device"]), *(_number(row["ms_per_study"].get(str(batch)), 2) for batch in batches)]
        for row in document["pytorch"]
    ]
    return table(["what", "where", *(f"batch {batch}" for batch in batches)], rows, words=2, reference=reference)


def _training(document: Mapping[str, Any]) -> str:
    found = document["training"]
    if found is None:
        return "<p>not run</p>"
    return f"<p>{escape(found['what'])} on {escape(found['device'])}: {escape(found['result'])}</p>"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
