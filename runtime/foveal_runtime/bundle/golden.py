"""Golden studies: generated studies inside a bundle with PyTorch's outputs for them. Reads and writes; compares nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.bundle import GOLDEN, Bundle
from foveal_runtime.bundle.strictjson import parse_json
from foveal_runtime.bundle.tensors import write_tensors
from foveal_runtime.errors import BundleError
from foveal_runtime.study.labels import Head
from foveal_runtime.study.study import Eye, Modality, Record, Sex, Study, subset_name

STUDIES = "studies.json"
OUTPUTS = "golden.safetensors"

_MAX_STUDIES_BYTES = 16 << 20
_MAX_STUDIES = 1000
"""Exports write 35 or fewer; each start replays them all."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Golden:
    """The studies and the reference's answers; N studies, M modalities in declaration order, G classes."""

    studies: tuple[Study, ...]
    joint_ND: Float32
    """Unit joint vectors."""
    cls_NMD: Float32
    """Unit CLS vectors of single-modality passes; zeros where the study lacks the modality."""
    logits: Mapping[Head, Float32]
    """Raw ones `[N, G]` of every head of the bundle."""

    def some(self, least: int) -> Golden:
        """A few of them for a quick replay: the fullest, the first of every modality alone, and at least so many."""
        by_size = sorted(range(len(self.studies)), key=lambda i: -len(self.studies[i].modalities))
        first = {self.studies[i].modalities: i for i in reversed(by_size)}
        single = [i for subset, i in first.items() if len(subset) == 1]
        chosen = list(dict.fromkeys([by_size[0], *single, *first.values(), *by_size]))[: max(least, 1 + len(single))]
        return Golden(
            studies=tuple(self.studies[i] for i in chosen),
            joint_ND=self.joint_ND[chosen],
            cls_NMD=self.cls_NMD[chosen],
            logits={head: logits_NG[chosen] for head, logits_NG in self.logits.items()},
        )


def record_to_json(record: Record) -> dict[str, Any]:
    """The known fields of a record."""
    return {name: getattr(record, name) for name in Record.__slots__ if getattr(record, name) is not None}


def record_from_json(document: dict[str, Any]) -> Record:
    """Inverse of `record_to_json`.

    Raises:
        ValueError: an unknown field or code.
    """
    unknown = set(document) - set(Record.__slots__)
    if unknown:
        raise ValueError(f"unknown record fields {sorted(unknown)}")
    values = {name: value for name, value in document.items() if value is not None}
    if "sex" in values:
        values["sex"] = Sex(values["sex"])
    if "eye" in values:
        values["eye"] = Eye(values["eye"])
    return Record(**values)


def read_golden(bundle: Bundle) -> Golden:
    """The golden studies of a bundle.

    Raises:
        BundleError: missing, or the studies and the outputs do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        entries = parse_json(bundle.read(f"{GOLDEN}/{STUDIES}"), most_bytes=_MAX_STUDIES_BYTES, texts=True)
        if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_STUDIES:
            raise ValueError(f"there are not 1 to {_MAX_STUDIES} studies")
        studies = tuple(_study(bundle, entry) for entry in entries)
        outputs = load(bundle.read(f"{GOLDEN}/{OUTPUTS}"))
        golden = Golden(
            studies=studies,
            joint_ND=_output(outputs, "joint"),
            cls_NMD=_output(outputs, "cls"),
            logits={head: _output(outputs, head) for head in bundle.manifest.heads},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BundleError(f"golden studies of {bundle.path} can't be read ({type(error).__name__}); export again") from error
    count, dim = len(studies), bundle.manifest.embedding_dim
    shapes = [golden.joint_ND.shape, golden.cls_NMD.shape, *(each.shape for each in golden.logits.values())]
    classes = [(count, len(names)) for names in bundle.manifest.heads.values()]
    if shapes != [(count, dim), (count, len(Modality), dim), *classes]:
        raise BundleError(f"golden studies of {bundle.path}: {count} studies do not fit their outputs; export again")
    return golden


def _output(outputs: dict[str, Any], name: str) -> Float32:
    array = outputs[name]
    if array.dtype != np.float32 or not np.isfinite(array).all():
        raise ValueError(f"{name} is not finite float32")
    return np.asarray(array, np.float32)


def _study(bundle: Bundle, entry: dict[str, Any]) -> Study:
    image = entry.get("image")
    if image is not None and Path(image).name != image:
        raise ValueError("image lies outside the golden folder")
    if not isinstance(entry["id"], str) or not entry["id"].isprintable():
        raise ValueError("a study's id is no plain text")
    study = Study(
        id=entry["id"],
        image=bundle.read(f"{GOLDEN}/{image}") if image is not None else None,
        note=entry.get("note"),
        record=record_from_json(entry["record"]) if entry.get("record") is not None else None,
    )
    if subset_name(study.modalities) != entry["subset"]:
        raise ValueError("a study's modalities are not its subset's")
    return study


def write_golden(folder: Path, studies: Sequence[Study], outputs: dict[str, Float32]) -> None:
    """Write the golden folder that `read_golden` reads.

    Args:
        folder: created when missing.
        studies: whose ids are unique and fit to be file names; images are JPEG bytes, equal ones are written once.
        outputs: `joint` [N, D], `cls` [N, M, D], and by head its logits [N, G], all float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[bytes, str] = {}
    entries = []
    for study in studies:
        entry: dict[str, Any] = {"id": study.id, "subset": subset_name(study.modalities)}
        if study.note is not None:
            entry["note"] = study.note
        if study.record is not None:
            entry["record"] = record_to_json(study.record)
        if Modality.IMAGE in study.modalities:
            assert study.image is not None
            name = names.setdefault(study.image, f"image-{len(names):03d}.jpg")
            (folder / name).write_bytes(study.image)
            entry["image"] = name
        entries.append(entry)
    (folder / STUDIES).write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tensors(folder / OUTPUTS, {name: np.asarray(array, np.float32) for name, array in outputs.items()})
