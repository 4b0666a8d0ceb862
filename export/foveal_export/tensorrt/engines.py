"""What TensorRT makes of all graphs of a bundle: layers, element types, engines and their sizes, as one document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from foveal_export.tensorrt.architectures import Architecture
from foveal_export.tensorrt.builder import build
from foveal_export.tensorrt.parser import parse, version
from foveal_runtime.bundle.manifest import ShapeRange

SUFFIX = ".engine"


def build_all(
    graphs: Mapping[str, Path],
    shapes: Mapping[str, Mapping[str, ShapeRange]],
    architectures: Sequence[Architecture],
    *,
    half: Callable[[str], onnx.ModelProto] | None = None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Parse every graph and build it for every architecture.

    Args:
        graphs: files of the bundle by name.
        shapes: the manifest's profiles by graph and input.
        architectures: what to build for.
        half: gives a graph in FP16, to compare the engines of an INT8 bundle with; None compares nothing.
        keep: a folder in which the engines are left as ARCHITECTURE/GRAPH.engine; None drops them.

    Returns:
        The part of parity.json that is TensorRT's: parser version, and by graph its layers, element types and engines.

    Raises:
        ConfigError: TensorRT is not installed.
        CheckFailed: a graph is refused or not built.
    """
    document: dict[str, Any] = {
        "parser": version(),
        "architectures": [architecture.value for architecture in architectures],
        "graphs": {},
    }
    for name, path in graphs.items():
        parsed = parse(name, path.read_bytes())
        entry: dict[str, Any] = {"layers": parsed.layers, "tensors": parsed.tensors, "engines": {}}
        plain = None if half is None else parse(f"{name} in FP16", half(name).SerializeToString())
        for architecture in architectures:
            made = build(parsed, shapes.get(name, {}), architecture)
            found: dict[str, Any] = {
                "bytes": len(made.data),
                "seconds": round(made.seconds, 2),
                "sha256": hashlib.sha256(made.data).hexdigest(),
            }
            if plain is not None:
                found["fp16_bytes"] = len(build(plain, shapes.get(name, {}), architecture).data)
            entry["engines"][architecture.value] = found
            if keep is not None:
                file = keep / architecture.value / f"{name}{SUFFIX}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(made.data)
        document["graphs"][name] = entry
    return document


def sizes(document: Mapping[str, Any], key: str = "bytes") -> dict[str, int]:
    """Bytes of all engines together by architecture.

    Args:
        document: from `build_all`.
        key: `bytes` of the bundle's engines, `fp16_bytes` of those they were compared with.
    """
    return {
        architecture: sum(graph["engines"][architecture][key] for graph in document["graphs"].values())
        for architecture in document["architectures"]
    }


def hashes(document: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of every engine, by its path below the folder of engines."""
    return {
        f"{architecture}/{name}{SUFFIX}": engine["sha256"]
        for name, graph in document["graphs"].items()
        for architecture, engine in graph["engines"].items()
    }
