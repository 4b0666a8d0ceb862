"""What one teacher says of studies: calibrated probabilities and joint vectors, worked out once and kept by content.

A study's key is what the teacher is shown of it: the photograph's bytes, the note, the record. Their place is named by the
teacher's fingerprint, so neither another teacher nor another study is ever taken for one that was asked before.
Shapes: N studies, W = 8 ways of showing a study, G classes, D = 256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.bundle.golden import record_to_json
from foveal_runtime.errors import DataError
from foveal_runtime.study.labels import Head
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality, subset_name
from foveal_train.data import Sample
from foveal_train.runs.predict import Showing, predict_each
from foveal_train.runs.teachers import Teacher
from foveal_train.training.arrays import StudyArrays, load_arrays
from foveal_train.training.distillation import WAYS, way_codes

_AT_ONCE = 128
"""Studies that are decoded, asked about and kept together: what an interruption may cost."""
_FORM = b"2"
"""Of the files: another form of answers is asked for anew."""

_OF_HEAD = "probabilities."
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One teacher's answers on N studies; ways that it was not trained on, or a study does not have, are not known."""

    probabilities: dict[Head, Float32]
    """Calibrated ones `[N, W, G]` of each head of the teacher; zeros where not known."""
    joint_NWD: npt.NDArray[np.float16]
    """Unit vectors; zeros where not known."""
    known_NW: npt.NDArray[np.bool_]

    def at(self, rows: Sequence[int]) -> Answers:
        """Some rows."""
        return Answers(
            probabilities={head: every[rows] for head, every in self.probabilities.items()},
            joint_NWD=self.joint_NWD[rows],
            known_NW=self.known_NW[rows],
        )


def _joined(parts: Sequence[Answers], dim: int, heads: Mapping[Head, Sequence[str]]) -> Answers:
    empty = Answers(
        probabilities={head: np.zeros((0, WAYS, len(classes)), np.float32) for head, classes in heads.items()},
        joint_NWD=np.zeros((0, WAYS, dim), np.float16),
        known_NW=np.zeros((0, WAYS), bool),
    )
    every = [empty, *parts]
    return Answers(
        probabilities={head: np.concatenate([each.probabilities[head] for each in every]) for head in heads},
        joint_NWD=np.concatenate([each.joint_NWD for each in every]),
        known_NW=np.concatenate([each.known_NW for each in every]),
    )


def ask(
    teacher: Teacher,
    samples: Sequence[Sample],
    folder: Path,
    *,
    flips: bool,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Answers:
    """A teacher's answers on studies, those that were asked for before from `folder`.

    Args:
        teacher: in evaluation mode; goes to `device`.
        samples: the studies, photographs that decode.
        folder: of answers.
        flips: take the mean over mirrored photographs, see `mirrors`.
        device: to compute on.
        progress: called with (done, total) studies.

    Raises:
        DataError: a photograph can't be read or decoded, or the folder can't be read or written.
    """
    dim = teacher.run.model.embedding_dim
    sides = mirrors(teacher) if flips else ((False, False),)
    place = folder / hashlib.sha256(_FORM + f"{teacher.fingerprint} {sides}".encode()).hexdigest()[:32]
    keys = [_key(sample) for sample in samples]
    there = {key for path in _files(place) for key in _keys(path)}
    missing = [row for row, key in enumerate(keys) if key not in there]
    missing = list({keys[row]: row for row in missing}.values())
    progress(len(samples) - len(missing), len(samples))
    teacher.run.model.to(device)
    for start in range(0, len(missing), _AT_ONCE):
        rows = missing[start : start + _AT_ONCE]
        found = _asked(teacher, [samples[row] for row in rows], sides)
        _keep(place, [keys[row] for row in rows], found)
        progress(len(samples) - len(missing) + start + len(rows), len(samples))
    teacher.run.model.to("cpu")
    where: dict[str, int] = {}
    parts: list[Answers] = []
    count = 0
    wanted = set(keys)
    for path in _files(place):
        own = _keys(path)
        taken = [row for row, key in enumerate(own) if key in wanted and key not in where]
        where |= {own[row]: count + at for at, row in enumerate(taken)}
        count += len(taken)
        if taken:
            parts.append(_read(path).at(taken))
    return _joined(parts, dim, teacher.run.info.model.head_classes).at([where[key] for key in keys])


def mirrors(teacher: Teacher) -> tuple[tuple[bool, bool], ...]:
    """(top to bottom, left to right) of every way in which the teacher's training mirrored photographs, the plain one first."""
    augmentation = teacher.run.info.recipe.get("augmentation", {})
    vertical = (False, True) if augmentation.get("vertical_flip") else (False,)
    horizontal = (False, True) if augmentation.get("horizontal_flip") else (False,)
    return tuple((up, side) for up in vertical for side in horizontal)


def _asked(teacher: Teacher, samples: Sequence[Sample], sides: Sequence[tuple[bool, bool]]) -> Answers:
    info = teacher.run.info
    shown = tuple(modality for modality in Modality if any(modality in subset for subset in info.subsets))
    arrays = load_arrays(
        samples,
        image_spec=info.model.image_spec,
        tokenise=NoteTokeniser(teacher.run.tokenizer_json, info.model.text_spec) if Modality.TEXT in shown else None,
        features=info.features,
        modalities=shown,
        keep_empty_notes=bool(info.recipe.get("keep_empty_notes", False)),
    )
    showings = [Showing(present_NM=arrays.showing(subset)) for subset in info.subsets]
    count, dim = len(samples), teacher.run.model.embedding_dim
    probabilities = {head: np.zeros((count, WAYS, len(each))) for head, each in info.model.head_classes.items()}
    joint_NWD = np.zeros((count, WAYS, dim))
    known_NW = np.zeros((count, WAYS), bool)
    for up, side in sides:
        turned = replace(arrays, squares_NSSC=_mirrored(arrays, up=up, side=side))
        for subset, predictions in zip(info.subsets, predict_each(teacher.run.model, turned, showings), strict=True):
            way = int(way_codes(np.asarray([[modality in subset for modality in Modality]]))[0])
            calibration = info.calibration.get(subset_name(subset), SubsetCalibration())
            for head, every in probabilities.items():
                every[predictions.rows, way] += calibration.probabilities(head, predictions.logits[head]) / len(sides)
            joint_NWD[predictions.rows, way] += predictions.joint_ND
            known_NW[predictions.rows, way] = True
    joint_NWD /= np.maximum(np.linalg.norm(joint_NWD, axis=-1, keepdims=True), 1e-12)
    return Answers(
        probabilities={head: every.astype(np.float32) for head, every in probabilities.items()},
        joint_NWD=joint_NWD.astype(np.float16),
        known_NW=known_NW,
    )


def _mirrored(arrays: StudyArrays, *, up: bool, side: bool) -> npt.NDArray[np.uint8]:
    squares = arrays.squares_NSSC
    return squares[:, :: -1 if up else 1, :: -1 if side else 1]


def _key(sample: Sample) -> str:
    """What a teacher is shown of a study; the whole file counts, as its orientation may stand in its metadata."""
    image = sample.image_bytes()
    row = {
        "image": None if image is None else hashlib.sha256(image).hexdigest(),
        "note": sample.note,
        "record": None if sample.record is None else record_to_json(sample.record),
    }
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _files(place: Path) -> list[Path]:
    return sorted(place.glob("*.safetensors"))


def _keys(path: Path) -> list[str]:
    """Keys of the answers in a file."""
    try:
        with safe_open(path, "numpy") as file:
            return [row.tobytes().hex() for row in file.get_tensor("keys")]
    except (OSError, SafetensorError):
        raise _unreadable(path) from None


def _read(path: Path) -> Answers:
    try:
        found = load_file(path)
        heads = [name.removeprefix(_OF_HEAD) for name in found if name.startswith(_OF_HEAD)]
        return Answers(
            probabilities={head: found[_OF_HEAD + head] for head in heads},
            joint_NWD=found["joint"],
            known_NW=found["known"].astype(bool),
        )
    except (OSError, SafetensorError, KeyError):
        raise _unreadable(path) from None


def _unreadable(path: Path) -> DataError:
    return DataError(f"teachers' answers {path} can't be read; remove that file, they will be asked again")


def _keep(place: Path, keys: Sequence[str], answers: Answers) -> None:
    """Add a file of answers, whole or not at all."""
    name = hashlib.sha256("".join(keys).encode()).hexdigest()[:32]
    part = place / f"{name}.part"
    tensors: dict[str, npt.NDArray[Any]] = {
        "keys": np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(len(keys), -1).copy(),
        **{_OF_HEAD + head: every for head, every in answers.probabilities.items()},
        "joint": answers.joint_NWD,
        "known": answers.known_NW.astype(np.uint8),
    }
    try:
        place.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part)
        part.replace(place / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or "the disk may be full"
        raise DataError(f"teachers' answers can't be written to {place} ({why}); free space, or name --answers") from None
