"""What ONNX Runtime's execution providers are told, as data: stacks, options, optimisation profiles. Opens no session.

The TensorRT provider builds a strongly typed network when neither FP16 nor INT8 is enabled by option: the types are then the
graph's own, which `foveal export --target tensorrt` has written. TensorRT for RTX builds no other kind. What of this file has
been executed stands in docs/operations.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal_runtime.bundle.manifest import Graph

Options = dict[str, str]
Stack = list[tuple[str, Options]]


class Provider(StrEnum):
    """An ONNX Runtime execution provider."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    """A plugin: TensorRT for RTX, with its libraries in one package."""
    OPENVINO = "openvino"
    """A plugin: OpenVINO on the processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """A provider that comes as a package of its own and is registered in each process."""

    module: str
    """Imported to learn where its library lies."""
    extra: str
    """Of foveal, which brings it."""


PLUGINS: dict[Provider, Plugin] = {
    Provider.TENSORRT_RTX: Plugin(module="onnxruntime_ep_nv_tensorrt_rtx", extra="rtx"),
    Provider.OPENVINO: Plugin(module="onnxruntime_ep_openvino", extra="openvino"),
}
ORT_NAMES: dict[Provider, str] = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
    Provider.TENSORRT_RTX: "NvTensorRTRTXExecutionProvider",
    Provider.OPENVINO: "OpenVINOExecutionProvider",
}
_STACKS: dict[Provider, tuple[Provider, ...]] = {
    Provider.CPU: (Provider.CPU,),
    Provider.CUDA: (Provider.CUDA, Provider.CPU),
    Provider.TENSORRT: (Provider.TENSORRT, Provider.CUDA, Provider.CPU),
    Provider.TENSORRT_RTX: (Provider.TENSORRT_RTX, Provider.CPU),
    Provider.OPENVINO: (Provider.OPENVINO, Provider.CPU),
}
"""A node that a provider has no kernel for runs on the next; the first one must be there, or opening fails."""
_CUDA: Options = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search for every new batch size would stall callers
    "use_tf32": "0",  # ten bits of mantissa are not the FP32 that was verified
}


def on_processor(provider: str) -> bool:
    """Whether a provider computes on the processor, where decoding and graphs share the cores."""
    return provider in (Provider.CPU, Provider.OPENVINO)


def stack(provider: Provider, first: Mapping[str, str] | None = None) -> Stack:
    """Providers in the order in which a node is offered to them, with their options.

    Args:
        provider: the one that was asked for.
        first: its own options, over those it always gets.
    """
    options: dict[Provider, Options] = {part: {} for part in Provider}
    options[Provider.CUDA] = dict(_CUDA)
    options[provider] |= dict(first or {})
    return [(ORT_NAMES[part], options[part]) for part in _STACKS[provider]]


def engine_options(graph: Graph, prefix: str = "trt") -> Options:
    """What TensorRT needs to build an engine of a graph: its optimisation profile.

    Args:
        graph: of a bundle exported for TensorRT.
        prefix: of the option names: `trt` for TensorRT, `nv` for TensorRT for RTX.
    """
    return {
        f"{prefix}_profile_min_shapes": _shapes({name: shape.min for name, shape in graph.shapes.items()}),
        f"{prefix}_profile_opt_shapes": _shapes({name: shape.opt for name, shape in graph.shapes.items()}),
        f"{prefix}_profile_max_shapes": _shapes({name: shape.max for name, shape in graph.shapes.items()}),
    }


def rtx_options(graph: Graph, kernels: Path) -> Options:
    """What TensorRT for RTX needs to build an engine of a graph, or to run one that was built.

    Args:
        graph: of a bundle exported for TensorRT.
        kernels: folder where it keeps what it compiles for this GPU when an engine is first run.
    """
    # A CUDA graph would be captured anew for every number of rows and tokens.
    return {**engine_options(graph, "nv"), "nv_runtime_cache_path": str(kernels), "enable_cuda_graph": "0"}


def openvino_options(threads: int, *, built_in: bool = False) -> Options:
    """What OpenVINO is told of the processor.

    Args:
        threads: inside one graph call.
        built_in: ONNX Runtime was built with it, and has to be told the device; a plugin's is among its devices.
    """
    # Where a processor has bfloat16 OpenVINO would compute FP32 graphs in it, which nobody verified.
    settings = {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    return {"load_config": json.dumps({"CPU": settings}), **({"device_type": "CPU"} if built_in else {})}


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
