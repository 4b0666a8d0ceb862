"""Read a graph with TensorRT's own ONNX parser: what it makes of it, or why it refuses. Builds no engine; see `builder`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from foveal_runtime.errors import CheckFailed, ConfigError

_SHOWN = 5
"""Refused nodes that an error names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """A graph as TensorRT's network, and what that consists of."""

    name: str
    layers: dict[str, int]
    """Number of layers by type, in TensorRT's spelling."""
    tensors: dict[str, int]
    """Number of layers' outputs by element type, in TensorRT's spelling."""
    network: Any
    builder: Any
    log: Any
    """Keeps what TensorRT reports; the network lives no longer than its logger and builder."""


def library() -> Any:
    """TensorRT for RTX, imported where it is first needed.

    Raises:
        ConfigError: it is not installed, or its libraries do not load.
    """
    try:
        import tensorrt_rtx
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"TensorRT's parser and builder can't be loaded ({type(error).__name__}); install foveal[tensorrt], or check the "
            "graphs against the published operator list alone with --engines none"
        ) from None
    return tensorrt_rtx


def version() -> str:
    """Version of the installed parser and builder.

    Raises:
        ConfigError: there is none.
    """
    return str(library().__version__)


def parse(name: str, model: bytes) -> Parsed:
    """Parse a serialised ONNX graph into a strongly typed network.

    Args:
        name: of the graph, for messages.
        model: the file's bytes.

    Raises:
        ConfigError: TensorRT is not installed.
        CheckFailed: a node is refused; the parser's words and the node's name are in the message.
    """
    trt = library()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    reader = trt.OnnxParser(network, log)
    if not reader.parse(model):
        errors = [reader.get_error(place) for place in range(reader.num_errors)]
        words = [f"node {e.node_name()!r} ({e.node_operator()}): {e.desc().strip()}" for e in errors] or log.errors
        raise CheckFailed(
            f"TensorRT's parser {trt.__version__} refuses graph {name}: {'; '.join(words[:_SHOWN])}; "
            "export with --target onnx, or report the node"
        )
    found = [network.get_layer(place) for place in range(network.num_layers)]
    made = Counter(layer.get_output(i).dtype.name for layer in found for i in range(layer.num_outputs))
    return Parsed(
        name=name,
        layers=dict(sorted(Counter(layer.type.name for layer in found).items())),
        tensors=dict(sorted(made.items())),
        network=network,
        builder=builder,
        log=log,
    )


def _log(trt: Any) -> Any:
    """A logger that keeps errors and prints nothing. Its class can't exist before the library does."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message.strip())

    return Log()
