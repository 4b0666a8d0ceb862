"""Samples as arrays: decoded squares, token ids, features, labels, ready to be batched. Decodes each photograph once.

Preprocessing is the runtime's own, so a model is trained on exactly what it will be served.
Shapes: N samples, S the profile's side, B rows of a batch, M = 3 modalities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal_runtime.errors import DataError, ImageError
from foveal_runtime.photo.imaging import ImageSpec, UInt8, load_square
from foveal_runtime.study.labels import MISSING, SCHEME_CLASSES, Head
from foveal_runtime.study.notes import Int64, NoteTokeniser, pad_notes
from foveal_runtime.study.record import FeatureStats, encode_record
from foveal_runtime.study.study import Modality, Subset
from foveal_train.data.sample import Problem, Sample
from foveal_train.model.model import ModelInputs
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.scratch import scratch_array

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
Skipped = Callable[[Problem], None]
"""Told of what is left out."""

_DECODE_THREADS = 2
_LISTED = 10


def note_group(note: str) -> int:
    """The first 63 bits of the text's hash."""
    return _group(note.encode())


def _group(content: bytes) -> int:
    return int.from_bytes(hashlib.sha256(content).digest()[:8]) >> 1


NO_NOTE = note_group("")
"""Group of studies that never had a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyArrays:
    """N samples, decoded. Rows of an absent modality hold zeros and are False in `present_NM`."""

    ids: tuple[str, ...]
    squares_NSSC: UInt8
    notes: tuple[Int64, ...]
    features_NF: npt.NDArray[np.float32]
    present_NM: npt.NDArray[np.bool_]
    labels: dict[Head, npt.NDArray[np.int64]]
    """Places of the classes by head, `MISSING` where unknown."""
    note_groups_N: npt.NDArray[np.int64]
    """Made from the text, so equal for samples whose notes are the same, in these arrays and in any others."""
    image_spec: ImageSpec
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, rows: slice) -> StudyArrays:
        """Neighbouring rows, photographs shared."""
        return replace(
            self,
            ids=self.ids[rows],
            squares_NSSC=self.squares_NSSC[rows],
            notes=self.notes[rows],
            features_NF=self.features_NF[rows],
            present_NM=self.present_NM[rows],
            labels={head: labels_N[rows] for head, labels_N in self.labels.items()},
            note_groups_N=self.note_groups_N[rows],
            samples=self.samples[rows],
        )

    def record_groups(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Groups of some rows, equal for records of the same features, in these arrays and in others of the same statistics."""
        return np.asarray([_group(features_F.tobytes()) for features_F in self.features_NF[rows]], np.int64)

    def rows(self, modality: Modality) -> npt.NDArray[np.bool_]:
        """Which samples have `modality`."""
        return np.asarray(self.present_NM[:, list(Modality).index(modality)])

    def has(self, subset: Subset) -> npt.NDArray[np.bool_]:
        """Which samples have every modality of `subset`."""
        columns = [i for i, modality in enumerate(Modality) if modality in subset]
        return np.asarray(self.present_NM[:, columns].all(axis=1))

    def showing(self, subset: Subset) -> npt.NDArray[np.bool_]:
        """`present_NM` of the samples that have all of `subset`, those modalities alone; nothing of the others."""
        return np.asarray([modality in subset for modality in Modality]) & self.has(subset)[:, None]

    def images(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """`images_BCSS` in [0, 1], float32: before augmentation and standardisation."""
        return as_images(self.squares(rows))

    def squares(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """`squares_BSSC`, uint8."""
        return torch.from_numpy(np.ascontiguousarray(self.squares_NSSC[rows]))

    def padded_notes(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """`input_ids_BT` and `attention_mask_BT`, T tokens of the longest."""
        ids_BT, mask_BT = pad_notes([self.notes[row] for row in rows])
        return torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)

    def inputs(
        self, rows: npt.NDArray[np.int64], *, images_BCSS: Tensor | None = None, subset: Subset | None = None
    ) -> ModelInputs:
        """Model inputs of some rows.

        Args:
            rows: indices.
            images_BCSS: replaces the stored images, for example after augmentation.
            subset: show these modalities alone.
        """
        shown = self.present_NM[rows].copy()
        if subset is not None:
            shown &= np.asarray([modality in subset for modality in Modality])
        present_BM = torch.from_numpy(shown)
        pixels = ids = mask = features = None
        if shown[:, 0].any():
            images = self.images(rows) if images_BCSS is None else images_BCSS
            pixels = standardise_batch(images, self.image_spec)
        if shown[:, 1].any():
            ids, mask = self.padded_notes(rows)
        if shown[:, 2].any():
            features = torch.from_numpy(self.features_NF[rows])
        return ModelInputs(
            present_BM=present_BM,
            pixels_BCHW=pixels,
            input_ids_BT=ids,
            attention_mask_BT=mask,
            features_BF=features,
            host_BM=shown,
        )


def as_images(squares_BSSC: Tensor) -> Tensor:
    """uint8 squares as `images_BCSS` in [0, 1], float32, on their device."""
    return squares_BSSC.permute(0, 3, 1, 2).float() / 255


def standardise_batch(images_BCSS: Tensor, spec: ImageSpec) -> Tensor:
    """[0, 1] images to `pixels_BCHW`, as `imaging.standardise` does one by one."""
    mean, std = _channels(spec.mean, images_BCSS.device), _channels(spec.std, images_BCSS.device)
    return ((images_BCSS - mean) / std).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=8)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number a channel, copied to a device once and not in every step."""
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def load_arrays(
    samples: Sequence[Sample],
    *,
    image_spec: ImageSpec,
    tokenise: NoteTokeniser | None,
    features: FeatureStats,
    modalities: Sequence[Modality] = tuple(Modality),
    heads: Mapping[Head, Sequence[str]] | None = None,
    keep_empty_notes: bool = False,
    cache: Path | None = None,
    decoded: DecodedPhotographs | None = None,
    skipped: Skipped | None = None,
    progress: Progress | None = None,
) -> StudyArrays:
    """Decode and encode samples.

    Args:
        samples: what to load.
        image_spec: preprocessing of photographs.
        tokenise: the run's tokenizer; None where no notes are read.
        features: statistics of the training split.
        modalities: the others are left out.
        heads: classes by head; labels of the grading schemes are there in any case, and alone with None.
        keep_empty_notes: an empty note counts as text (recipes/paper).
        cache: file that holds the squares (memory-mapped); None keeps them in memory.
        decoded: photographs that other runs decode as well; None decodes them for these arrays alone.
        skipped: told of each photograph that can't be decoded, whose sample is then left out; None refuses them all.
        progress: called as photographs are decoded.

    Raises:
        DataError: photographs can't be decoded; the first ones are listed. Or the disk has no room for them.
    """
    squares: UInt8 = np.zeros((len(samples), 1, 1, 3), np.uint8)
    if Modality.IMAGE in modalities:
        squares, problems = _squares(samples, image_spec, cache, decoded, progress)
        if problems and skipped is None:
            raise DataError(_refusal([problems[row] for row in sorted(problems)], len(samples)))
        if problems and skipped is not None:
            for row in sorted(problems):
                skipped(problems[row])
            kept = [row for row in range(len(samples)) if row not in problems]
            for place, row in enumerate(kept):
                if place != row:
                    squares[place] = squares[row]  # in place: a memory-mapped file stays one
            samples, squares = [samples[row] for row in kept], squares[: len(kept)]
    count, side = len(samples), image_spec.side_px
    present_NM = np.zeros((count, len(Modality)), bool)
    feature_rows = np.zeros((count, len(features.spec.features)), np.float32)
    for row, sample in enumerate(samples):
        if Modality.IMAGE in modalities:
            present_NM[row, 0] = sample.image_path is not None
        if sample.record is not None and not sample.record.is_blank and Modality.STRUCTURED in modalities:
            present_NM[row, 2] = True
            feature_rows[row] = encode_record(sample.record, features).features_F
    assert squares.shape[1] in (side, 1)
    arrays = StudyArrays(
        ids=tuple(sample.id for sample in samples),
        squares_NSSC=squares,
        notes=(),
        features_NF=feature_rows,
        present_NM=present_NM,
        labels={head: _labels(samples, head, classes) for head, classes in {**SCHEME_CLASSES, **(heads or {})}.items()},
        note_groups_N=np.zeros(count, np.int64),
        image_spec=image_spec,
        samples=tuple(samples),
    )
    if tokenise is None:
        assert Modality.TEXT not in modalities
        return replace(arrays, note_groups_N=np.full(count, NO_NOTE, np.int64))
    notes = [sample.note for sample in samples] if Modality.TEXT in modalities else [""] * count
    return with_notes(arrays, notes, tokenise, keep_empty=keep_empty_notes and Modality.TEXT in modalities)


def _labels(samples: Sequence[Sample], head: Head, classes: Sequence[str]) -> Int64:
    """Places of a head's classes, `[N]`.

    Raises:
        DataError: a label is none of them.
    """
    places = (sample.labels.place(head, classes) for sample in samples)
    return np.asarray([MISSING if place is None else place for place in places], np.int64)


def with_notes(arrays: StudyArrays, notes: Sequence[str], tokenise: NoteTokeniser, *, keep_empty: bool = False) -> StudyArrays:
    """A copy with other notes, photographs shared: how grading is measured without sentences that leak the label."""
    tokens = {note: tokenise(note).ids_T for note in set(notes)}
    present_NM = arrays.present_NM.copy()
    present_NM[:, 1] = [keep_empty or bool(note.strip()) for note in notes]
    return replace(
        arrays,
        notes=tuple(tokens[note] for note in notes),
        note_groups_N=np.asarray([note_group(note) for note in notes], np.int64),
        present_NM=present_NM,
    )


def _squares(
    samples: Sequence[Sample],
    spec: ImageSpec,
    cache: Path | None,
    decoded: DecodedPhotographs | None,
    progress: Progress | None,
) -> tuple[UInt8, dict[int, Problem]]:
    """Decoded photographs, and the places of those that can't be."""
    shape = (len(samples), spec.side_px, spec.side_px, 3)
    if cache is None:
        squares: UInt8 = np.zeros(shape, np.uint8)
    else:
        squares = scratch_array(cache, shape, np.uint8, instead="or name another folder with --out")
    problems: dict[int, Problem] = {}

    def load(row: int) -> Problem | None:
        sample = samples[row]
        try:
            if decoded is not None:
                square = decoded.square(sample, spec)
            else:
                data = sample.image_bytes()
                square = None if data is None else load_square(data, spec)
        except ImageError as error:
            return Problem(row=sample.row, id=sample.id, what=str(error))
        if square is not None:
            squares[row] = square
        return None

    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        for place, problem in enumerate(pool.map(load, range(len(samples)))):
            if problem is not None:
                problems[place] = problem
            if progress is not None:
                progress(place + 1, len(samples))
    return squares, problems


def _refusal(problems: list[Problem], count: int) -> str:
    more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
    return (
        f"{len(problems)} of {count} photographs can't be used: {'; '.join(map(str, problems[:_LISTED]))}{more}. "
        "Remove or replace them, or skip them with --skip-bad"
    )
