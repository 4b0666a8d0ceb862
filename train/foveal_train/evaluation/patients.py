"""Figures over patients instead of studies: the worst gradable eye decides, and who can't be graded counts both ways. Asks no
model.

A patient is referred when any gradable photograph is. Where none is, but some photograph could not be graded, nothing was
decided: such a patient counts once as referred, as screening programmes do, and once as cleared, which is the worst that could
come of it. Shapes: S studies, P patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.photo.imaging import ImageSpec, photograph
from foveal_runtime.photo.quality import Quality, assess
from foveal_runtime.study.labels import REFERABLE_GRADE
from foveal_train.data import Sample
from foveal_train.evaluation.grading import confusion_matrix, confusion_replicates, quadratic_kappa
from foveal_train.evaluation.intervals import Resamples, figure
from foveal_train.evaluation.referable import decision_figures

Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
_THREADS = 2
WAYS = {"undecided_referred": "referred", "undecided_cleared": "cleared"}
"""How patients about whom nothing was decided are counted, in a word."""


def names_patients(samples: Sequence[Sample]) -> bool:
    """Whether some patient has several studies: a data set that names nobody takes each for a patient of its own."""
    return len({sample.patient_id for sample in samples}) < len(samples)


def gradable_photographs(samples: Sequence[Sample], spec: ImageSpec) -> Bool:
    """Which photographs the runtime's own check would let a model grade; a study without one has nothing against it.

    Args:
        samples: the studies.
        spec: how the model takes photographs.

    Raises:
        DataError: a photograph can't be read.
        ImageError: it can't be decoded.
    """

    def passes(sample: Sample) -> bool:
        data = sample.image_bytes()
        return data is None or assess(photograph(data, spec)) is Quality.GRADABLE

    with ThreadPoolExecutor(_THREADS) as pool:
        return np.fromiter(pool.map(passes, samples), bool, len(samples))


def patient_figures(truth_S: Int, answer_S: Int, referred_S: Bool, gradable_S: Bool, resamples: Resamples) -> dict[str, Any]:
    """Figures of one input; at least one study.

    Args:
        truth_S: known ICDR grades; a patient's is the worst, whether or not its photograph can be graded.
        answer_S: answered grades.
        referred_S: what the default operating point refers.
        gradable_S: whose answers count.
        resamples: of the same studies.
    """
    _, first, of_S = np.unique(resamples.patients_N, return_index=True, return_inverse=True)
    here = resamples.at(first)
    count = len(first)
    truth_P = _worst(truth_S, of_S, count)
    answer_P = _worst(np.where(gradable_S, answer_S, -1), of_S, count)
    referred_P = _worst((gradable_S & referred_S).astype(np.int64), of_S, count) > 0
    undecided_P = (_worst((~gradable_S).astype(np.int64), of_S, count) > 0) & ~referred_P
    positive_P = truth_P >= REFERABLE_GRADE
    seen = np.flatnonzero(answer_P >= 0)
    seen_here = here.at(seen)
    one_grade = "truth and answers are one and the same grade"
    return {
        "patients": count,
        "referable": int(positive_P.sum()),
        "without_gradable": count - len(seen),
        "undecided": int(undecided_P.sum()),
        "kappa": figure(
            float(quadratic_kappa(confusion_matrix(truth_P[seen], answer_P[seen]))),
            quadratic_kappa(confusion_replicates(truth_P[seen], answer_P[seen], seen_here)),
            n=len(seen),
            patients=len(seen),
            undefined=one_grade,
        ),
        "undecided_referred": decision_figures(referred_P | undecided_P, positive_P, here),
        "undecided_cleared": decision_figures(referred_P, positive_P, here),
    }


def _worst(values_S: Int, of_S: Int, count: int) -> Int:
    """The largest value of each patient."""
    worst_P = np.full(count, -1, np.int64)
    np.maximum.at(worst_P, of_S, values_S)
    return worst_P
