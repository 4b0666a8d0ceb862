"""Build engines from a parsed graph, for one architecture each, with the manifest's profile. Needs no GPU and runs nothing.

No timing cache is attached: TensorRT asks for a GPU to read one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from foveal_export.tensorrt.architectures import Architecture
from foveal_export.tensorrt.parser import Parsed, library
from foveal_runtime.bundle.manifest import ShapeRange
from foveal_runtime.errors import CheckFailed

_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """One graph, built for one architecture."""

    graph: str
    architecture: Architecture
    data: bytes
    seconds: float


def build(parsed: Parsed, shapes: Mapping[str, ShapeRange], architecture: Architecture) -> Engine:
    """Build one engine.

    Args:
        parsed: the graph.
        shapes: by input, least, usual and largest shape: the manifest's.
        architecture: what it is built for.

    Raises:
        CheckFailed: TensorRT does not build it, or a profile does not fit the graph; in TensorRT's words.
    """
    trt = library()
    parsed.log.errors.clear()
    inputs = {parsed.network.get_input(place).name for place in range(parsed.network.num_inputs)}
    profile = parsed.builder.create_optimization_profile()
    for tensor, shape in shapes.items():
        if tensor not in inputs:
            raise CheckFailed(
                f"the manifest has a profile of {tensor!r}, graph {parsed.name} has inputs {', '.join(sorted(inputs))}; "
                "export the run again"
            )
        profile.set_shape(tensor, shape.min, shape.opt, shape.max)
    config = parsed.builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, architecture.name), 0)
    begun = time.perf_counter()
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    seconds = time.perf_counter() - begun
    if plan is None:
        words = "; ".join(parsed.log.errors[:_SHOWN]) or "it gave no reason"
        raise CheckFailed(
            f"TensorRT {trt.__version__} does not build graph {parsed.name} for {architecture.value}: {words}; "
            "export with --target onnx, or leave the architecture out of --engines"
        )
    return Engine(graph=parsed.name, architecture=architecture, data=bytes(plan), seconds=seconds)
