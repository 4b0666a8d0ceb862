"""A bundle on disk: open it, check every byte against its manifest, refuse what does not fit. Runs no graph.

Layout (DESIGN, section 6): manifest.json and manifest.sig when it is signed, one .onnx per trained modality and fusion.onnx,
each with its variants (GRAPH.VARIANT.onnx), tokenizer.json, golden/, parity.json, plan.json, MODEL_CARD.md. No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from foveal_runtime.bundle.graphfile import check_graph
from foveal_runtime.bundle.manifest import ADAPTED_SCHEMA_VERSION, NO_CHECKSUM, SCHEMA_VERSION, Manifest
from foveal_runtime.bundle.sealed import Sealed
from foveal_runtime.bundle.signing import SIGNATURE, PublicKey, check_signature
from foveal_runtime.bundle.strictjson import parse_json
from foveal_runtime.errors import BundleError

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
PARITY = "parity.json"
GOLDEN = "golden"
_MOUNTED = "..data"
"""The link that Kubernetes points to the current version of a volume, and through which each of its files is linked."""
_CHUNK_BYTES = 1 << 20
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_GRAPH_BYTES = 2 << 30
"""Protobuf's own limit: a larger file is no ONNX model."""
_MAX_FILE_BYTES = 256 << 20
"""Of every other file; a sparse one could claim any size, and would be hashed for hours."""


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A bundle whose bytes were checked when it was opened."""

    path: Path
    manifest: Manifest
    sha256: str
    """Hash of manifest.json, which names the hash of everything else: the bundle's identity."""
    is_signed: bool = False
    """Whether there is a signature; whose, only `signed_by` tells."""
    is_verified: bool = False
    """Whether the key that was asked for has signed it."""
    sealed: Sealed | None = None
    """Copies of its files that nothing can change; None reads them from the folder each time."""
    served: Mapping[str, str] = field(default_factory=dict)
    """Name of the variant that is served, by graph; empty while there is a choice, and where there never was."""

    @classmethod
    def open(cls, path: Path | str, *, signed_by: PublicKey | None = None, seal: bool = False) -> Bundle:
        """Read the manifest and check every file against it.

        Args:
            path: the bundle's folder.
            signed_by: refuse a bundle that this key has not signed; None asks for no signature.
            seal: keep copies of all files and hash those: for who goes on loading from it. Close `sealed` in the end.

        Raises:
            BundleError: missing, of another schema version, changed since it was written, with files missing, added or linked,
                or with a graph that reaches out of its file.
            SignatureError: not signed by `signed_by`.
        """
        try:
            return cls._open(Path(path), signed_by, seal=seal)
        except (OSError, RuntimeError) as error:
            # A link that leads in a circle is a RuntimeError of pathlib's.
            raise BundleError(f"{path} can't be read ({error}); check the path, its links and its permissions") from None

    @classmethod
    def _open(cls, path: Path, signed_by: PublicKey | None, *, seal: bool) -> Bundle:
        # Resolved before anything is checked: a link that is pointed elsewhere meanwhile changes nothing.
        root = path.resolve()
        manifest_path = root / MANIFEST
        if not root.is_dir():
            raise BundleError(f"no bundle at {root}: there is no such folder; name one that `foveal export` wrote")
        if not manifest_path.is_file():
            raise BundleError(f"{root} is no bundle: {MANIFEST} is missing; name a folder that `foveal export` wrote")
        _check_plain(root)
        if (size := manifest_path.stat().st_size) > _MAX_MANIFEST_BYTES:
            raise BundleError(f"{manifest_path} has {size} bytes, {_MAX_MANIFEST_BYTES} are the limit; export the bundle again")
        raw = manifest_path.read_bytes()
        if signed_by is not None:
            check_signature(root, raw, signed_by)
        manifest = _parse(raw, root)
        if manifest.checksum and checksum_of(raw, manifest.checksum) != manifest.checksum:
            raise BundleError(f"{manifest_path} was changed: its checksum is another; copy or export the bundle again")
        graphs = {graph.file: graph for graph in (*manifest.graphs.values(), *manifest.every_variant().values())}
        listed = {**manifest.files, **{name: graph.sha256 for name, graph in graphs.items()}}
        sealed = Sealed() if seal else None
        try:
            for name, expected in listed.items():
                _check_size(root, name, graphs[name].bytes if name in graphs else None)
                _check_file(root, name, expected, sealed)
            for name in graphs:
                _check_graph(root, name, sealed)
            _check_nothing_added(root, {*listed, MANIFEST, SIGNATURE})
        except BaseException:
            if sealed is not None:
                sealed.close()
            raise
        return cls(
            path=root,
            manifest=manifest,
            sha256=hashlib.sha256(raw).hexdigest(),
            is_signed=(root / SIGNATURE).is_file(),
            is_verified=signed_by is not None,
            sealed=sealed,
        )

    def graph_path(self, name: str) -> Path:
        """Path of a graph by its name in the manifest."""
        return self.path / self.manifest.graphs[name].file

    def graph(self, name: str) -> Path | bytes:
        """What a graph is loaded from: its sealed copy where there is one, else its path."""
        return self.graph_path(name) if self.sealed is None else self.sealed.read(self.manifest.graphs[name].file)

    def read(self, name: str) -> bytes:
        """A file that the manifest lists, by its path relative to the bundle.

        Raises:
            OSError: it is gone.
            KeyError: there is none of that name.
        """
        return (self.path / name).read_bytes() if self.sealed is None else self.sealed.read(name)

    @property
    def tokenizer_json(self) -> bytes:
        """The tokenizer's file; empty when the bundle has no text encoder."""
        there = (self.path / TOKENIZER).is_file() if self.sealed is None else TOKENIZER in self.sealed.descriptors
        return self.read(TOKENIZER) if there else b""

    def close(self) -> None:
        """Give the copies back, if there are any."""
        if self.sealed is not None:
            self.sealed.close()


def checksum_of(raw: bytes, written: str = NO_CHECKSUM) -> str:
    """SHA-256 of a manifest.json as it was before its checksum was written into it.

    Args:
        raw: the file.
        written: the checksum that it holds, 64 digits; zeros stand in its place while it is made.
    """
    return hashlib.sha256(raw.replace(written.encode(), NO_CHECKSUM.encode(), 1)).hexdigest()


def _parse(raw: bytes, root: Path) -> Manifest:
    path = root / MANIFEST
    try:
        document = parse_json(raw, most_bytes=_MAX_MANIFEST_BYTES)
    except ValueError as error:
        raise BundleError(f"{path} is damaged: {error}; export the bundle again") from None
    if not isinstance(document, dict) or "schema_version" not in document:
        raise BundleError(f"{path} is damaged: it is no JSON object with a schema_version; export again")
    version = document["schema_version"]
    if version not in (SCHEMA_VERSION, ADAPTED_SCHEMA_VERSION):
        newer = isinstance(version, int) and version > ADAPTED_SCHEMA_VERSION
        mend = "upgrade foveal, or export again with this one" if newer else "export again with this foveal"
        raise BundleError(
            f"manifest schema {version!r} is none that this runtime reads ({SCHEMA_VERSION}, {ADAPTED_SCHEMA_VERSION}); {mend}"
        )
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        at = f" at {where!r}" if where else ""
        raise BundleError(f"{root / MANIFEST} is damaged{at}: {why}; export the bundle again") from None


def _check_plain(root: Path) -> None:
    """Refuse links, pipes and devices: a link may lead to any file of this machine, and reading a pipe never ends."""
    if (root / _MOUNTED / MANIFEST).is_file():
        raise BundleError(f"{root} is a Kubernetes volume, whose files are links; name the folder {root / _MOUNTED}")
    for path in root.rglob("*"):
        kind = path.lstat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            what = "a link" if stat.S_ISLNK(kind) else "no file"
            raise BundleError(f"{path} is {what}; a bundle holds plain files alone: copy what it leads to, or export again")


def _check_size(root: Path, name: str, graph_bytes: int | None) -> None:
    """Refuse a file outside the bundle, a missing one, and one of another size than it may have, before it is read."""
    path = root / name
    if Path(name).is_absolute() or ".." in Path(name).parts or Path(name).as_posix() != name:
        raise BundleError(f"{root / MANIFEST} names a file outside the bundle ({name!r}); do not trust this bundle")
    if not path.is_file():
        raise BundleError(f"{path} is missing, the manifest names it; copy the bundle again as a whole")
    size = path.stat().st_size
    if graph_bytes is not None and size != graph_bytes:
        raise BundleError(
            f"{path} was changed: {size} bytes where the manifest says {graph_bytes}; copy or export the bundle again"
        )
    limit = _MAX_FILE_BYTES if graph_bytes is None else _MAX_GRAPH_BYTES
    if size > limit:
        raise BundleError(f"{path} has {size} bytes, {limit} are the limit; export the bundle again")


def _check_file(root: Path, name: str, expected: str, sealed: Sealed | None) -> None:
    path = root / name
    got = sha256_file(path) if sealed is None else sealed.add(name, path)
    if got != expected:
        raise BundleError(
            f"{path} was changed: SHA-256 {got[:12]}… where the manifest says {expected[:12]}…; copy or export the bundle again"
        )


def _check_graph(root: Path, name: str, sealed: Sealed | None) -> None:
    """Refuse a graph that would read other files or run for ever."""
    descriptor = os.open(root / name, os.O_RDONLY) if sealed is None else sealed.descriptors[name]
    try:
        if os.fstat(descriptor).st_size == 0:
            raise ValueError("it is empty")
        # Not closed here: views of it live as long as an error's frames. It goes with the last of them.
        check_graph(memoryview(mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)))
    except ValueError as error:
        raise BundleError(f"graph {root / name} is not used: {error}; export the bundle again") from None
    finally:
        if sealed is None:
            os.close(descriptor)


def _check_nothing_added(root: Path, known: set[str]) -> None:
    for path in root.rglob("*"):
        if not path.is_dir() and path.relative_to(root).as_posix() not in known:
            raise BundleError(f"{path} is not in the manifest: it was added since the bundle was written; remove it")
