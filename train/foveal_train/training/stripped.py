"""Studies whose notes no longer name diabetic retinopathy: for evaluation, and for a share of studies in training.

A model that only ever sees notes written after grading learns that a note without the sentence "Diabetic retinopathy is
present." belongs to a healthy eye, and then trusts the note's silence over the photograph. Training that shows the note
without such sentences now and then (`strip_dr_notes` of a recipe) leaves the photograph in charge of what the note omits.
Shapes: N studies, M = 3 modalities.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import Modality
from foveal_train.training.arrays import StudyArrays, with_notes


def without_dr_sentences(arrays: StudyArrays, tokenise: NoteTokeniser) -> StudyArrays | None:
    """The studies with notes that no longer name diabetic retinopathy; None when no note names it.

    A note of which nothing remains is absent, unless the arrays keep empty notes as text.
    """
    text_N = arrays.rows(Modality.TEXT)
    notes = [sample.note_without_dr if has else "" for sample, has in zip(arrays.samples, text_N, strict=True)]
    if all(not has or note == sample.note for note, sample, has in zip(notes, arrays.samples, text_N, strict=True)):
        return None
    # A recipe that keeps empty notes as text shows in the arrays themselves: a blank note that counts as present.
    keep_empty = any(has and not sample.note.strip() for sample, has in zip(arrays.samples, text_N, strict=True))
    stripped = with_notes(arrays, notes, tokenise, keep_empty=keep_empty)
    return replace(stripped, present_NM=stripped.present_NM & arrays.present_NM)


def some_stripped(arrays: StudyArrays, stripped: StudyArrays, chosen_N: npt.NDArray[np.bool_]) -> StudyArrays:
    """The studies, with the chosen ones' notes taken from `stripped`; one of which nothing would be left keeps its own.

    A study whose note is gone keeps the note's group: it is known to have had one.
    """
    taken_N = chosen_N & stripped.present_NM.any(axis=1)
    notes = zip(arrays.notes, stripped.notes, taken_N, strict=True)
    return replace(
        arrays,
        notes=tuple(other if taken else own for own, other, taken in notes),
        note_groups_N=np.where(taken_N & stripped.rows(Modality.TEXT), stripped.note_groups_N, arrays.note_groups_N),
        present_NM=np.where(taken_N[:, None], stripped.present_NM, arrays.present_NM),
    )
