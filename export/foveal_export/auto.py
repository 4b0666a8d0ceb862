"""`--precision auto`: INT8 where it is within its budget and smaller or faster than FP16, else FP16. Measures nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from foveal_export.parity.budget import Budget
from foveal_export.pipeline import export_run
from foveal_export.planning import Reporter, Request
from foveal_export.result import Exported
from foveal_export.tensorrt import engines
from foveal_export.variants import INT8
from foveal_runtime.bundle.manifest import Cpu, Precision, Target
from foveal_runtime.errors import CheckFailed


def export_auto(request: Request, budget: Budget, say: Reporter) -> tuple[Exported, str]:
    """Export a run at the precision that is worth it.

    Args:
        request: for INT8.
        budget: limits of FP16, should it be taken.
        say: told how it gets on.

    Returns:
        What came out, and why it is not INT8; empty where it is.

    Raises:
        CheckFailed: FP16 is out of budget as well, or refused by TensorRT.
    """
    try:
        return export_run(request, say, refuse=no_gain), ""
    except CheckFailed as error:
        why = str(error)
    float_alone = tuple(name for name in request.variants if name not in INT8)
    half = dataclasses.replace(request, precision=Precision.FP16, budget=budget, cpu=Cpu.ANY, variants=float_alone)
    return export_run(half, say), why


def no_gain(document: Mapping[str, Any]) -> str:
    """Why an INT8 bundle is not worth it; empty where it is smaller or faster than FP16.

    Args:
        document: its parity.json.
    """
    if document["target"] == Target.TENSORRT and document["tensorrt"]:
        return _larger_engines(document["tensorrt"])
    rows = {row["name"]: row for row in document["precisions"]}
    int8, half = rows["int8"], rows["fp16"]
    # On a CPU the graphs of another target say nothing about speed there.
    faster = document["target"] == Target.ONNX and int8["ms"] < half["ms"]
    if faster or int8["bytes"] < half["bytes"]:
        return ""
    return (
        f"INT8 is neither smaller nor faster than FP16: {int8['bytes'] / 1e6:.1f} MB against {half['bytes'] / 1e6:.1f} MB, "
        f"{int8['ms']:.1f} ms a study against {half['ms']:.1f} ms; take --precision fp16"
    )


def _larger_engines(document: Mapping[str, Any]) -> str:
    """The architectures whose INT8 engines are no smaller than FP16's; speed is not known without a GPU."""
    int8, half = engines.sizes(document), engines.sizes(document, "fp16_bytes")
    larger = [
        f"{name} {int8[name] / 1e6:.1f} MB against {half[name] / 1e6:.1f} MB" for name in int8 if int8[name] >= half[name]
    ]
    if not larger:
        return ""
    return (
        f"INT8 engines are not smaller than FP16's ({', '.join(larger)}), so TensorRT keeps little of them in INT8, "
        "and without a GPU their speed is not known; take --precision fp16"
    )
