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
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from foveal_runtime.bundle.bundle import Bundle, sha256_file
from foveal_runtime.engine.cachefolder import cache_root, check_private, private_folder
from foveal_runtime.engine.device import device_facts, device_key
from foveal_runtime.errors import ConfigError, StaleError

INDEX = "compiled.json"
FOLDER = "graphs"
_OWN = ".served-"
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
    ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Milliseconds a study that every variant took, by its name and graph; empty where there was no choice."""
    lock: int | None = None
    """Descriptor of the lock of a server's own copy, in the process that made it; None of what lies in the cache folder."""

    def path(self, name: str) -> Path:
        """File of a graph by its name in the manifest."""
        return self.folder / self.graphs[name].file

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum((self.folder / name).stat().st_size for graph in self.graphs.values() for name in graph.files)

    def close(self) -> None:
        """Take a server's own copy away; leaves the cache folder alone."""
        if self.lock is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self.lock)


def entry_folder(bundle_sha256: str, provider: str) -> Path:
    """Where everything of a bundle on this device is kept: the serving plan, and compiled graphs in `graphs`."""
    return cache_root() / f"{bundle_sha256[:16]}-{device_key(device_facts(provider))}"


def find_compiled(bundle: Bundle, provider: str, *, own: bool = False) -> Compiled | None:
    """The bundle's compiled graphs on this device; None when `foveal compile` has not made any.

    Args:
        bundle: they were made from.
        provider: where they run.
        own: copy the files and check the copies: for a server, whose workers map them and must not see what is written there
            later, by whoever. Close it in the end.

    Raises:
        StaleError: there are some, but not for this bundle, device and ONNX Runtime, or not as they were written.
        ConfigError: the folder is not this user's alone, so that anybody could have written them.
    """
    folder = entry_folder(bundle.sha256, provider) / FOLDER
    if not (folder / INDEX).exists():
        return None
    check_private(folder.parent)
    check_private(folder)
    return read_compiled(folder, bundle, device_facts(provider), own=own)


def read_compiled(folder: Path, bundle: Bundle, device: Mapping[str, str], *, own: bool = False) -> Compiled:
    """Read an entry and check every byte of it.

    Raises:
        StaleError: see `find_compiled`.
    """
    try:
        document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        format_, made_on = document["format"], document["device"]
        graphs = {name: CompiledGraph(**entry) for name, entry in document["graphs"].items()}
        ms = {name: {graph: float(value) for graph, value in each.items()} for name, each in document.get("ms", {}).items()}
        named = [(Path(file).name == file, file, expected) for g in graphs.values() for file, expected in g.files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StaleError(f"{folder / INDEX} can't be read ({type(error).__name__}); run `foveal compile` again") from None
    if format_ != FORMAT:
        raise StaleError(f"{folder} was compiled by another foveal (format {format_!r}); run `foveal compile` again")
    if made_on != dict(device):
        raise StaleError(f"{folder} was compiled for another device or ONNX Runtime; run `foveal compile` again")
    if graphs.keys() != bundle.manifest.graphs.keys() or any(g.source not in _sources(bundle, n) for n, g in graphs.items()):
        raise StaleError(f"{folder} was compiled from other graphs than the bundle's; run `foveal compile` again")
    found = Compiled(folder=folder, graphs=graphs, ms=ms)
    if own:
        found = _own_copy(found)
    for inside, file, expected in named:
        if not inside or not (found.folder / file).is_file() or sha256_file(found.folder / file) != expected:
            found.close()
            raise StaleError(f"{folder / file} is missing or was changed since it was compiled; run `foveal compile` again")
    return found


def _sources(bundle: Bundle, name: str) -> set[str]:
    """Hashes of the files that may be served as a graph."""
    return {graph.sha256 for graph in (bundle.manifest.graphs[name], *bundle.manifest.variants.get(name, {}).values())}


def _own_copy(entry: Compiled) -> Compiled:
    """The files of an entry in a folder of this process's own, locked as long as it lives; those of dead ones go.

    Raises:
        ConfigError: there is no room, or the cache folder can't be written.
    """
    folder = entry.folder
    for left in folder.parent.glob(f"{_OWN}*"):
        _sweep(left)
    try:
        made = Path(tempfile.mkdtemp(prefix=_OWN, dir=folder.parent))
        lock = os.open(made / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        copied = replace(entry, folder=made, lock=lock)
        for graph in entry.graphs.values():
            for file in graph.files:
                if Path(file).name == file and (folder / file).is_file():
                    shutil.copyfile(folder / file, made / file)
    except OSError as error:
        raise ConfigError(f"{folder.parent} can't be written ({error.strerror}); free space, or set FOVEAL_CACHE") from None
    return copied


def _sweep(left: Path) -> None:
    """Remove a copy whose server is gone, however it went."""
    try:
        with (left / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    except OSError:
        return  # it is served from, or another foveal was quicker


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


def write_index(
    folder: Path,
    bundle: Bundle,
    device: Mapping[str, str],
    files: Mapping[str, tuple[str, ...]],
    ms: Mapping[str, Mapping[str, float]],
) -> Compiled:
    """Write an entry's index, the last of its files.

    Args:
        folder: as `writing` gave it, with the compiled graphs inside.
        bundle: they were made from, as it is served.
        device: they were made on.
        files: of each graph by its name in the manifest, first the one that ONNX Runtime opens.
        ms: what every variant took, see `Compiled`.
    """
    graphs = {
        name: CompiledGraph(source=bundle.manifest.graphs[name].sha256, files={f: sha256_file(folder / f) for f in made})
        for name, made in files.items()
    }
    document = {
        "format": FORMAT,
        "device": dict(device),
        "graphs": {name: asdict(graph) for name, graph in graphs.items()},
        "ms": {name: dict(each) for name, each in ms.items()},
    }
    (folder / INDEX).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return Compiled(folder=folder, graphs=graphs, ms=ms)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
