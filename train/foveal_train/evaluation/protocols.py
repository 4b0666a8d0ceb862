"""The two retrieval protocols, and which studies take part in each. The figures themselves are `retrieval`'s.

`independent`: photograph and note are each encoded in a pass that sees that modality alone, as a real query is.
`joint`: both vectors come from one pass in which the modalities have attended to each other, so the photograph has leaked
into the text vector; the only reading found under which the paper's 99.94 % and CLIP's 1.29 % fit one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality
from foveal_train.data.sample import Sample
from foveal_train.evaluation.inputs import FULL, Answers, Trained
from foveal_train.evaluation.intervals import Resamples
from foveal_train.evaluation.retrieval import LabelSet, direction_figures
from foveal_train.training.arrays import StudyArrays

IMAGE_COLUMN, TEXT_COLUMN = (list(Modality).index(m) for m in (Modality.IMAGE, Modality.TEXT))
DESCRIPTIONS = {
    "independent": "Photograph and note are each encoded alone, as a real query is. A text query can't do better than the "
    "ceiling at strict recall, since studies share notes.",
    "joint": "Both vectors come from one pass in which photograph and note have attended to each other: the photograph has "
    "leaked into the text vector, so this measures that leak and no search a clinic could make. It may exceed the ceiling.",
}

Vectors = npt.NDArray[np.float32]


def retrieval_figures(
    asked: list[Answers], arrays: StudyArrays, trained: Trained, drawn: Resamples
) -> tuple[dict[str, Any] | None, list[dict[str, str]]]:
    """Both protocols.

    Returns:
        Figures by protocol (None for one that can't be measured), or None when text was never trained; and the reasons.
    """
    if not any(Modality.TEXT in subset for subset in trained.subsets):
        return None, [{"what": "retrieval", "reason": "text was not trained"}]
    by_name = {one.name: one for one in asked}
    reasons: list[dict[str, str]] = []
    found: dict[str, Any] = {}
    for protocol, needed in (("independent", (Modality.IMAGE.value, Modality.TEXT.value)), ("joint", (FULL,))):
        missing = [name for name in needed if name not in by_name]
        if missing:
            found[protocol] = None
            why = f"{' and '.join(missing)} alone was not trained, or no study has it"
            reasons.append({"what": f"retrieval {protocol}", "reason": why})
            continue
        image_ND, has_image = _vectors(by_name[needed[0]], len(arrays), IMAGE_COLUMN)
        text_ND, has_text = _vectors(by_name[needed[-1]], len(arrays), TEXT_COLUMN)
        if protocol == "independent":
            text_ND = _one_per_note(text_ND, has_text, arrays.note_groups_N)
        pairs = np.flatnonzero(has_image & has_text)
        if np.unique(arrays.note_groups_N[pairs]).size < 2:
            found[protocol] = None
            reasons.append({"what": f"retrieval {protocol}", "reason": "fewer than two different notes belong to photographs"})
            continue
        labels = label_sets(arrays.samples, pairs, note_groups_N=arrays.note_groups_N, grades_N=arrays.labels[ICDR])
        shared = partial(direction_figures, queries=pairs, note_groups_N=arrays.note_groups_N, labels=labels, resamples=drawn)
        photographs, notes = np.flatnonzero(has_image), np.flatnonzero(has_text)
        found[protocol] = {
            "description": DESCRIPTIONS[protocol],
            "aligned": {Modality.IMAGE, Modality.TEXT} <= set(trained.aligned) if protocol == "independent" else None,
            "text_to_image": shared(text_ND, image_ND, gallery=photographs),
            "image_to_text": shared(image_ND, text_ND, gallery=notes),
        }
    return found, reasons


def _vectors(one: Answers, count: int, column: int) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """CLS vectors of one modality for all studies, and which of them have one."""
    cls_SMD = one.predictions.cls_NMD
    vectors_ND = np.zeros((count, cls_SMD.shape[2]), np.float32)
    vectors_ND[one.predictions.rows] = cls_SMD[:, column]
    name = list(Modality)[column].value
    has_N = np.zeros(count, bool)
    has_N[one.predictions.rows] = [name in shown.split("+") for shown in one.shown_S]
    return vectors_ND, has_N


def _one_per_note(text_ND: Vectors, has_text_N: npt.NDArray[np.bool_], groups_N: npt.NDArray[np.int64]) -> Vectors:
    """The same vector for the same note: padding in another batch moves the last bits, which is no order."""
    rows = np.flatnonzero(has_text_N)
    _, first, back = np.unique(groups_N[rows], return_index=True, return_inverse=True)
    same_ND = text_ND.copy()
    same_ND[rows] = text_ND[rows[first]][back]
    return same_ND


def label_sets(
    samples: Sequence[Sample],
    queries: npt.NDArray[np.int64],
    *,
    note_groups_N: npt.NDArray[np.int64],
    grades_N: npt.NDArray[np.int64],
) -> list[LabelSet]:
    """The same findings (where the data set flags them, else the same note), and the same ICDR grade.

    Args:
        samples: all N studies.
        queries: those that ask, each with a note.
        note_groups_N: equal for studies with the same note.
        grades_N: ICDR grades, negative where unknown.
    """
    labels: list[LabelSet] = []
    names = sorted({finding for sample in samples for finding in sample.findings})
    if any(samples[row].findings for row in queries):
        flags_NL = np.asarray([[name in sample.findings for name in names] for sample in samples], np.float64)
        codes_N = np.unique(flags_NL, axis=0, return_inverse=True)[1].reshape(-1)
        labels.append(LabelSet(name="findings", codes_N=codes_N, flags_NL=flags_NL))
    else:
        # Queries have notes; a gallery study without one has a group that is none of theirs.
        labels.append(LabelSet(name="note", codes_N=note_groups_N))
    if np.unique(grades_N[queries][grades_N[queries] >= 0]).size >= 2:
        labels.append(LabelSet(name="icdr", codes_N=grades_N))
    return labels
