"""What ONNX Runtime's execution providers are told, as data: stacks, options, optimisation profiles. Opens no session.

The TensorRT provider builds a strongly typed network when neither FP16 nor INT8 is enabled by option: the types are then the
graph's own, which `foveal export --target tensorrt` has written. Only the CPU's part of this file has ever been executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from foveal_runtime.bundle.manifest import Graph

Options = dict[str, str]
Stack = list[tuple[str, Options]]


class Provider(StrEnum):
    """An ONNX Runtime execution provider."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


ORT_NAMES: dict[Provider, str] = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
}
_STACKS: dict[Provider, tuple[Provider, ...]] = {
    Provider.CPU: (Provider.CPU,),
    Provider.CUDA: (Provider.CUDA, Provider.CPU),
    Provider.TENSORRT: (Provider.TENSORRT, Provider.CUDA, Provider.CPU),
}
"""A node that a provider has no kernel for runs on the next; the first one must be there, or opening fails."""
_CUDA: Options = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search for every new batch size would stall callers
    "use_tf32": "0",  # ten bits of mantissa are not the FP32 that was verified
}


def stack(provider: Provider, first: Mapping[str, str] | None = None) -> Stack:
    """Providers in the order in which a node is offered to them, with their options.

    Args:
        provider: the one that was asked for.
        first: its own options, over those it always gets.
    """
    options: dict[Provider, Options] = {Provider.CUDA: dict(_CUDA), Provider.CPU: {}, Provider.TENSORRT: {}}
    options[provider] |= dict(first or {})
    return [(ORT_NAMES[part], options[part]) for part in _STACKS[provider]]


def engine_options(graph: Graph) -> Options:
    """What TensorRT needs to build an engine of a graph: its optimisation profile.

    Args:
        graph: of a bundle exported for TensorRT.
    """
    return {
        "trt_profile_min_shapes": _shapes({name: shape.min for name, shape in graph.shapes.items()}),
        "trt_profile_opt_shapes": _shapes({name: shape.opt for name, shape in graph.shapes.items()}),
        "trt_profile_max_shapes": _shapes({name: shape.max for name, shape in graph.shapes.items()}),
    }


def build_options(graph: Graph, context: Path, timing: Path) -> Options:
    """What TensorRT needs to build an engine of a graph and keep it.

    Args:
        graph: of a bundle exported for TensorRT.
        context: file to write: an ONNX graph of one node with the engine inside, which can be moved.
        timing: folder of the timing cache, which makes the next build of a like graph short.
    """
    return {
        **engine_options(graph),
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_file_path": str(context),
        "trt_ep_context_embed_mode": "1",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(timing),
        "trt_builder_optimization_level": "3",
    }


def _shapes(of: Mapping[str, tuple[int, ...]]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, sizes))}" for name, sizes in of.items())
