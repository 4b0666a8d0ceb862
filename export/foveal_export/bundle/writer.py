"""Write what export alone makes of a bundle: graphs, the tokenizer, engines beside it. `bundle.writing` writes the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import onnx

from foveal_runtime.bundle.bundle import GOLDEN, TOKENIZER, sha256_file
from foveal_runtime.bundle.manifest import Cpu, Graph, Tensor
from foveal_runtime.bundle.writing import whole_or_nothing


@contextlib.contextmanager
def engines_staging(bundle: Path) -> Iterator[Path]:
    """A folder for the engines of `bundle`; it stands beside it, in place of an earlier one, when the block ends well.

    Raises:
        ConfigError: it can't be written.
    """
    with whole_or_nothing(engines_folder(bundle)) as folder:
        yield folder


def engines_folder(bundle: Path) -> Path:
    """Where engines that are kept lie: beside the bundle, whose manifest has their hashes."""
    return bundle.absolute().with_name(bundle.name + ".engines")


def write_graph(
    folder: Path,
    name: str,
    proto: onnx.ModelProto,
    *,
    inputs: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    one_at_a_time: bool,
    scheme: str,
    cpu: Cpu,
) -> Graph:
    """Write one graph; its entry in the manifest."""
    path = folder / f"{name}.onnx"
    # Deterministic: map fields, if any library adds one, are written in the order of their keys.
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return Graph(
        file=path.name,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        inputs=inputs,
        outputs=outputs,
        one_at_a_time=one_at_a_time,
        scheme=scheme,
        cpu=cpu,
    )


def write_tokenizer(folder: Path, tokenizer_json: bytes) -> None:
    """Write tokenizer.json."""
    (folder / TOKENIZER).write_bytes(tokenizer_json)


def golden_folder(folder: Path) -> Path:
    """Where golden studies go."""
    return folder / GOLDEN


def total_bytes(folder: Path) -> int:
    """Size of everything below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
