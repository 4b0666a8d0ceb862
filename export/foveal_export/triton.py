"""A model repository of NVIDIA Triton from a bundle: a model a graph, and one that decodes, joins and grades. Serves nothing.

    REPOSITORY/foveal_image/1/model.onnx, config.pbtxt     and likewise of every graph; model.plan for TensorRT
    REPOSITORY/foveal/1/model.py, bundle/, config.pbtxt    `foveal_runtime.rpc.triton`, and the whole bundle

Graphs are Triton's to batch and to place. `foveal` is a model of the Python backend that calls them (business logic
scripting), since a study may have any subset of modalities, and an ensemble can't leave a step out. Its Python needs foveal's
wheel.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Graph, Target, Tensor
from foveal_runtime.bundle.writing import whole_or_nothing
from foveal_runtime.errors import ConfigError
from foveal_runtime.rpc.inference_tensors import INPUTS, VECTOR_OUTPUTS, WORD_OUTPUTS, probabilities_of
from foveal_runtime.rpc.tensors import BYTES
from foveal_runtime.rpc.triton import BUNDLE, GIVEN, graph_model

NAME, VERSION = "foveal", "1"
MOST_ROWS = 16
"""Studies that Triton puts into one graph call."""
_TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "bool": "TYPE_BOOL"}
_PROTOCOL = {BYTES: "TYPE_STRING", "FP64": "TYPE_FP64", "FP32": "TYPE_FP32"}
_MODEL = '''"""Triton's entry: the bundle beside it, by foveal's runtime."""

from foveal_runtime.rpc.triton import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def check_layout(target: Path, *, force: bool) -> None:
    """Refuse early what `write_repository` would refuse in the end.

    Raises:
        ConfigError: the target is there and may not be replaced.
    """
    if not target.exists():
        return
    if not force:
        raise ConfigError(f"{target} exists; replace it with --force, or name another place with --out")
    if not (target / NAME / "config.pbtxt").is_file():
        raise ConfigError(f"{target} is no model repository, so --force does not replace it; name another place with --out")


def write_repository(bundle: Path, target: Path, *, force: bool = False, engines: Path | None = None) -> None:
    """Write a repository, whole or not at all.

    Args:
        bundle: of ONNX or TensorRT graphs.
        target: the repository's folder.
        force: replace one.
        engines: folder of a TensorRT bundle's engines for one architecture, GRAPH.engine; None puts graphs as ONNX.

    Raises:
        ConfigError: the target is there, or an engine is not.
    """
    check_layout(target, force=force)
    manifest = Bundle.open(bundle).manifest
    with whole_or_nothing(target) as folder:
        for name, graph in manifest.graphs.items():
            place = folder / graph_model(name) / VERSION
            place.mkdir(parents=True)
            if engines is None:
                shutil.copyfile(bundle / graph.file, place / "model.onnx")
            else:
                engine = engines / f"{name}.engine"
                if not engine.is_file():
                    raise ConfigError(f"{engine} is not there; export with --keep-engines and one of --engines")
                shutil.copyfile(engine, place / "model.plan")
            config = "".join(graph_config(name, graph, is_plan=engines is not None))
            (place.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        place = folder / NAME / VERSION
        shutil.copytree(bundle, place / BUNDLE)
        (place / "model.py").write_text(_MODEL, encoding="utf-8")
        classes = {head: len(names) for head, names in manifest.heads.items()}
        config = "".join(model_config(classes, manifest.embedding_dim))
        (place.parent / "config.pbtxt").write_text(config, encoding="utf-8")


def architecture_of(target: Target, kept: Sequence[str]) -> str | None:
    """Whose engines Triton takes, as its plans are of one architecture; None for ONNX.

    Args:
        target: of the export.
        kept: architectures whose engines it keeps.

    Raises:
        ConfigError: of no or several architectures.
    """
    if target is not Target.TENSORRT:
        return None
    if len(kept) != 1:
        raise ConfigError("a plan is for one GPU: give --keep-engines and one architecture with --engines, as --engines sm86")
    return kept[0]


def graph_config(name: str, graph: Graph, *, is_plan: bool) -> Iterator[str]:
    """config.pbtxt of a graph, piece by piece."""
    yield f'name: "{graph_model(name)}"\n'
    yield f'platform: "{"tensorrt_plan" if is_plan else "onnxruntime_onnx"}"\n'
    rows = 1 if graph.one_at_a_time else MOST_ROWS
    yield f"max_batch_size: {rows}\n"
    # Notes and fused studies differ in length: Triton batches those of one shape by itself.
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        yield from (_tensor(kind, tensor.name, _TYPES[tensor.dtype], _sizes(tensor)) for tensor in tensors)
    if rows > 1:
        yield "dynamic_batching { }\n"


def model_config(classes: dict[str, int], embedding_dim: int) -> Iterator[str]:
    """config.pbtxt of the model that grades, piece by piece."""
    yield f'name: "{NAME}"\nbackend: "python"\nmax_batch_size: 0\n'
    for name, datatype in INPUTS.items():
        yield _tensor("input", name, _PROTOCOL[datatype], [-1], more=" optional: true")
    for name in WORD_OUTPUTS:
        yield _tensor("output", name, "TYPE_STRING", [-1])
    for head, count in classes.items():
        yield _tensor("output", probabilities_of(head), "TYPE_FP64", [-1, count + 1])
    for name in VECTOR_OUTPUTS:
        yield _tensor("output", name, "TYPE_FP32", [-1, embedding_dim])
    yield "instance_group [ { kind: KIND_CPU count: 2 } ]\n"
    yield '# Grades of which held-out studies have shown nothing are withheld; "proven,unverified" gives them as well.\n'
    yield f'parameters {{ key: "{GIVEN}" value: {{ string_value: "proven" }} }}\n'


def _sizes(tensor: Tensor) -> list[int]:
    """Axes behind the first, which is Triton's batch; -1 is any size."""
    return [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]


def _tensor(kind: str, name: str, datatype: str, sizes: Sequence[int], more: str = "") -> str:
    dims = ", ".join(map(str, sizes))
    return f'{kind} [ {{ name: "{name}" data_type: {datatype} dims: [ {dims} ]{more} }} ]\n'
