"""Graphs compiled for this machine, in the cache folder: write them, find them, trust none that was touched. Runs no study.

An entry is a folder beside the plan of `foveal compile`, named by bundle and device. Its index names the graph of the bundle
each file was made from and the hash of each file; an entry that does not fit in every point is `StaleError`, and whoever asked
for it builds it again or serves from the bundle. Compiled graphs are ONNX Runtime's own optimised graphs: for the CPU with
weights in a file beside them, already in the layout of its kernels, which is mapped into memory and not copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle, sha256_file
from foveal_runtime.bundle.sealed import Sealed
from foveal_runtime.engine.cachefolder import cache_root, check_private, private_folder
from foveal_runtime.engine.device import device_facts, device_key
from foveal_runtime.errors import ConfigError, StaleError

INDEX = "compiled.json"
FOLDER = "graphs"
FORMAT = 1
"""Raised when what is written here changes: entries of another format are stale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompiledGraph:
    """One graph of an entry."""

    source: str
    """SHA-256 of the bundle's graph that it was made from."""
    files: dict[str, str]
    """SHA-256 by file name; the first is what ONNX Runtime opens."""

    @property
    def file(self) -> str:
        """Name of the file that ONNX Runtime opens."""
        return next(iter(self.files))


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """An entry whose bytes were checked."""

    folder: Path
    graphs: Mapping[str, CompiledGraph]
    sealed: Sealed | None = None
    """Copies of its files that nothing can change; None reads them from the folder."""

    def graph(self, name: str) -> Path | bytes:
        """What a graph is loaded from, by its name in the manifest: its sealed copy where there is one, else its path."""
        file = self.graphs[name].file
        return self.folder / file if self.sealed is None else self.sealed.read(file)

    def beside(self, name: str) -> dict[str, bytes]:
        """Of sealed copies: a graph's further files (its weights) by name; beside a path ONNX Runtime finds them itself."""
        if self.sealed is None:
            return {}
        return {file: self.sealed.read(file) for file in self.graphs[name].files if file != self.graphs[name].file}

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum((self.folder / name).stat().st_size for graph in self.graphs.values() for name in graph.files)

    def close(self) -> None:
        """Give the copies back, if there are any."""
        if self.sealed is not None:
            self.sealed.close()


def entry_folder(bundle_sha256: str, provider: str) -> Path:
    """Where everything of a bundle on this device is kept: the serving plan, and compiled graphs in `graphs`."""
    return cache_root() / f"{bundle_sha256[:16]}-{device_key(device_facts(provider))}"


def find_compiled(bundle: Bundle, provider: str, *, seal: bool = False) -> Compiled | None:
    """The bundle's compiled graphs on this device; None when `foveal compile` has not made any.

    Args:
        bundle: they were made from.
        provider: where they run.
        seal: keep copies of the files and check those: for who goes on loading from them.

    Raises:
        StaleError: there are some, but not for this bundle, device and ONNX Runtime, or not as they were written.
        ConfigError: the folder is not this user's alone, so that anybody could have written them.
    """
    folder = entry_folder(bundle.sha256, provider) / FOLDER
    if not (folder / INDEX).exists():
        return None
    check_private(folder.parent)
    check_private(folder)
    return read_compiled(folder, bundle, device_facts(provider), seal=seal)


def read_compiled(folder: Path, bundle: Bundle, device: Mapping[str, str], *, seal: bool = False) -> Compiled:
    """Read an entry and check every byte of it.

    Raises:
        StaleError: see `find_compiled`.
    """
    try:
        document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        format_, made_on = document["format"], document["device"]
        graphs = {name: CompiledGraph(**entry) for name, entry in document["graphs"].items()}
        named = [(Path(file).name == file, file, expected) for g in graphs.values() for file, expected in g.files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleError(f"{folder / INDEX} can't be read ({type(error).__name__}); run `foveal compile` again") from None
    if format_ != FORMAT:
        raise StaleError(f"{folder} was compiled by another foveal (format {format_!r}); run `foveal compile` again")
    if made_on != dict(device):
        raise StaleError(f"{folder} was compiled for another device or ONNX Runtime; run `foveal compile` again")
    if {name: g.source for name, g in graphs.items()} != {name: g.sha256 for name, g in bundle.manifest.graphs.items()}:
        raise StaleError(f"{folder} was compiled from other graphs than the bundle's; run `foveal compile` again")
    sealed = Sealed() if seal else None
    for inside, file, expected in named:
        if not inside or not (folder / file).is_file() or _hash(folder / file, sealed) != expected:
            if sealed is not None:
                sealed.close()
            raise StaleError(f"{folder / file} is missing or was changed since it was compiled; run `foveal compile` again")
    return Compiled(folder=folder, graphs=graphs, sealed=sealed)


def _hash(path: Path, sealed: Sealed | None) -> str:
    return sha256_file(path) if sealed is None else sealed.add(path.name, path)


@contextlib.contextmanager
def writing(bundle: Bundle, provider: str) -> Iterator[Path]:
    """An empty folder to compile into; it becomes the bundle's entry when the block ends well, and vanishes when it does not.

    One writer at a time; servers that have mapped the files of an older entry keep them.

    Raises:
        ConfigError: the cache folder can't be written, or is not this user's alone.
    """
    entry = private_folder(entry_folder(bundle.sha256, provider))
    with _lock(entry):
        scratch, old = entry / f".{FOLDER}.new", entry / f".{FOLDER}.old"
        for left in (scratch, old):
            shutil.rmtree(left, ignore_errors=True)
        private_folder(scratch)
        try:
            yield scratch
            for path in scratch.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if (entry / FOLDER).exists():
                (entry / FOLDER).rename(old)
            scratch.rename(entry / FOLDER)
        except OSError as error:
            raise ConfigError(f"{entry} can't be written ({error.strerror}); free space, or set FOVEAL_CACHE") from None
        finally:
            for left in (scratch, old):
                shutil.rmtree(left, ignore_errors=True)


def write_index(folder: Path, bundle: Bundle, device: Mapping[str, str], files: Mapping[str, tuple[str, ...]]) -> Compiled:
    """Write an entry's index, the last of its files.

    Args:
        folder: as `writing` gave it, with the compiled graphs inside.
        bundle: they were made from.
        device: they were made on.
        files: of each graph by its name in the manifest, first the one that ONNX Runtime opens.
    """
    graphs = {
        name: CompiledGraph(source=bundle.manifest.graphs[name].sha256, files={f: sha256_file(folder / f) for f in made})
        for name, made in files.items()
    }
    document = {"format": FORMAT, "device": dict(device), "graphs": {name: asdict(graph) for name, graph in graphs.items()}}
    (folder / INDEX).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return Compiled(folder=folder, graphs=graphs)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
