"""Where an artefact leaves FP32: the relative error behind every block, for a study. Judges nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from foveal_export.graphs import observers
from foveal_export.graphs.blocks import blocks


def block_outputs(reference: onnx.ModelProto, artefact: onnx.ModelProto) -> dict[str, str]:
    """Tensor behind each block that both graphs have, by block name."""
    made = {output for node in artefact.graph.node for output in node.output}
    floats = {value.name for value in reference.graph.output}
    return {block.name: block.output for block in blocks(reference) if block.output in made and block.output not in floats}


def drift(reference: onnx.ModelProto, artefact: onnx.ModelProto, feeds: Sequence[observers.Feeds]) -> list[dict[str, float]]:
    """Relative error (norm of the difference over norm of FP32's) behind every block, one dictionary a feed."""
    tensors = block_outputs(reference, artefact)
    names = list(tensors.values())
    if not names:
        return [{} for _ in feeds]
    rows = []
    for ours, theirs in zip(
        observers.run_taps(reference, names, feeds), observers.run_taps(artefact, names, feeds), strict=True
    ):
        rows.append({block: _relative(ours[tensor], theirs[tensor]) for block, tensor in tensors.items()})
    return rows


def _relative(expected: observers.Array, got: observers.Array) -> float:
    return float(np.linalg.norm(expected - got) / max(float(np.linalg.norm(expected)), 1e-12))
