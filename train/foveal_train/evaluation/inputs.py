"""The inputs that grading is measured on: what of each study the model is shown, and its answers. Computes no figure.

The note says "Diabetic retinopathy is present": it leaks the label. So grading is measured with everything, with such
sentences removed from the notes, with photograph and record, with the photograph alone, and for each other trained subset
(DESIGN, section 4). Shapes: N studies, M = 3 modalities, S studies of one input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.study.labels import Head
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import ALL_SUBSETS, Modality, Subset, subset_name
from foveal_train.model.model import MultimodalModel
from foveal_train.runs.predict import Predictions, Showing, predict_each
from foveal_train.training.arrays import Progress, StudyArrays
from foveal_train.training.stripped import without_dr_sentences

FULL = "full"
WITHOUT_DR = "full_without_dr"
PHOTOGRAPH_AND_RECORD = "image+structured"
PHOTOGRAPH = "image"
MAIN_INPUTS = (FULL, WITHOUT_DR, PHOTOGRAPH_AND_RECORD, PHOTOGRAPH)
"""The four that every report of grading needs (DESIGN, section 4)."""
_WORDS = {Modality.IMAGE: "photograph", Modality.TEXT: "note", Modality.STRUCTURED: "record"}


class Trained(Protocol):
    """What evaluation must know of a run; `RunInfo` is one."""

    @property
    def trained_heads(self) -> tuple[Head, ...]:
        """Heads that may be reported."""

    @property
    def head_classes(self) -> Mapping[Head, Sequence[str]]:
        """Classes of every head of the model."""

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """Modality subsets that may be reported."""

    @property
    def aligned(self) -> tuple[Modality, ...]:
        """Modalities whose single vectors were trained to be comparable."""

    @property
    def calibration(self) -> Mapping[str, SubsetCalibration]:
        """By `subset_name`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The model's answers to one input."""

    name: str
    title: str
    predictions: Predictions
    shown_S: tuple[str, ...]
    """`subset_name` of what each study showed."""
    untrained: int
    """Studies left out, since what they would show was never trained."""
    same_as: str | None = None
    """An earlier input that shows the very same."""

    @property
    def subsets(self) -> dict[str, int]:
        """Studies by what they showed."""
        return {name: self.shown_S.count(name) for name in sorted(set(self.shown_S))}


def title_of(subset: Subset) -> str:
    """Words for a subset: "photograph and record"."""
    words = [_WORDS[m] for m in Modality if m in subset]
    return f"{words[0]} alone" if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def trained_part(arrays: StudyArrays, subsets: tuple[Subset, ...]) -> StudyArrays:
    """The same studies without modalities that occur in no trained subset."""
    known = frozenset[Modality]().union(*subsets)
    return replace(arrays, present_NM=arrays.present_NM & np.asarray([m in known for m in Modality]))


def answers(
    model: MultimodalModel, arrays: StudyArrays, trained: Trained, tokenise: NoteTokeniser, progress: Progress | None
) -> tuple[list[Answers], list[dict[str, str]]]:
    """Ask the model for every input that it was trained for.

    Returns:
        The answers, the four of DESIGN section 4 first; and what was left out, with the reason.
    """
    allowed = {subset_name(subset) for subset in trained.subsets}
    whole = trained_part(arrays, trained.subsets)
    wanted: list[tuple[str, str, StudyArrays, Subset | None]] = [(FULL, "everything the study has", whole, None)]
    left_out: list[dict[str, str]] = []
    stripped = without_dr_sentences(whole, tokenise) if whole.rows(Modality.TEXT).any() else None
    if stripped is not None:
        wanted.append((WITHOUT_DR, "everything, DR sentences removed", stripped, None))
    elif whole.rows(Modality.TEXT).any():
        left_out.append({"what": WITHOUT_DR, "reason": "no note has a sentence on diabetic retinopathy to remove"})
    named = (PHOTOGRAPH_AND_RECORD, PHOTOGRAPH)
    order = sorted(ALL_SUBSETS, key=lambda s: (subset_name(s) not in named, subset_name(s) == PHOTOGRAPH))
    for one_subset in order:
        name = subset_name(one_subset)
        if name in allowed:
            wanted.append((name, title_of(one_subset), whole, one_subset))
        elif name in named:
            left_out.append({"what": name, "reason": "this subset was not trained"})
    drafts: list[tuple[str, str, int, bytes]] = []
    showings: dict[bytes, Showing] = {}
    labels: dict[bytes, tuple[str, ...]] = {}
    for name, title, studies, asked in wanted:
        present_NM = studies.present_NM if asked is None else studies.showing(asked)
        shown = _subset_names(present_NM)
        trained_N = np.asarray([label in allowed for label in shown], bool)
        untrained = int((present_NM.any(axis=1) & ~trained_N).sum())
        if not trained_N.any():
            reason = "no study has these modalities" if not untrained else "what the studies show was never trained together"
            left_out.append({"what": name, "reason": reason})
            continue
        present_NM = present_NM & trained_N[:, None]
        key = _key(present_NM, studies)
        drafts.append((name, title, untrained, key))
        showings.setdefault(key, Showing(present_NM=present_NM, notes=studies if studies is stripped else None))
        labels[key] = tuple(label for label, ok in zip(shown, trained_N, strict=True) if ok)
    predicted = dict(zip(showings, predict_each(model, whole, list(showings.values()), progress=progress), strict=True))
    first: dict[bytes, str] = {}
    found = []
    for name, title, untrained, key in drafts:
        twin = first.get(key)
        first.setdefault(key, name)
        found.append(
            Answers(name=name, title=title, predictions=predicted[key], shown_S=labels[key], untrained=untrained, same_as=twin)
        )
    return found, left_out


def _subset_names(present_NM: npt.NDArray[np.bool_]) -> list[str]:
    """Name of what each study shows; "" when nothing."""
    codes, back = np.unique(present_NM, axis=0, return_inverse=True)
    names = [subset_name(m for m, has in zip(Modality, code, strict=True) if has) for code in codes]
    return [names[i] for i in back.reshape(-1)]


def _key(present_NM: npt.NDArray[np.bool_], studies: StudyArrays) -> bytes:
    """Equal for inputs that show the model the very same."""
    text_N = present_NM[:, list(Modality).index(Modality.TEXT)]
    return present_NM.tobytes() + b"|".join(studies.notes[row].tobytes() for row in np.flatnonzero(text_N))
