"""One set of targets from the answers of several teachers: mean probabilities, and vectors turned into one space.

Vectors of two trainings can't be averaged: each space is turned as its training left it. Cosines, all that is ever asked of
vectors, do not change under rotation, so every teacher's space is turned onto the others' mean by the rotation of least squares
(generalised orthogonal Procrustes, Gower 1975). The student then learns the mean itself: nothing is projected, and nothing that
training would have to learn beside the student is thrown away afterwards. One teacher's space is taken as it is.
Shapes: N studies, W = 8 ways, G grades, D = 256, R rows of studies and ways together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import ConfigError
from foveal_train.runs.answers import Answers
from foveal_train.runs.teachers import Teacher
from foveal_train.training.distillation import SoftTargets

_ROUNDS = 5
"""Turns of every space onto the mean; three change the mean in the third digit, five in the fifth."""

Float64 = npt.NDArray[np.float64]


def agreed(
    teachers: Sequence[Teacher], answers: Sequence[Answers], *, vectors: bool = True
) -> tuple[SoftTargets, tuple[float, ...]]:
    """What teachers say together.

    Args:
        teachers: at least one.
        answers: of each, on the same studies.
        vectors: False leaves every vector unknown, and asks nothing of the teachers' spaces.

    Returns:
        The targets, and each teacher's mean cosine to the vectors of them.

    Raises:
        ConfigError: teachers' vectors differ in width or their heads in classes, or they know no way of showing a study in
            common.
    """
    probabilities, graded = {}, {}
    for head in dict.fromkeys(head for teacher in teachers for head in teacher.run.info.trained_heads):
        asked = [each for teacher, each in zip(teachers, answers, strict=True) if head in teacher.run.info.trained_heads]
        if len({each.probabilities[head].shape[-1] for each in asked}) > 1:
            raise ConfigError(f"the teachers' classes of head {head} differ; name teachers of the same classes")
        counts_NW = np.sum([each.known_NW for each in asked], axis=0)
        total_NWG = np.sum([each.probabilities[head].astype(np.float64) for each in asked], axis=0)
        probabilities[head] = (total_NWG / np.maximum(counts_NW, 1)[..., None]).astype(np.float32)
        graded[head] = counts_NW > 0
    vectors_NWD, known_NW, agreement = _one_space(answers) if vectors else _no_space(answers[0])
    targets = SoftTargets(
        probabilities=probabilities, graded=graded, vectors_NWD=vectors_NWD.astype(np.float16), known_NW=known_NW
    )
    return targets, agreement


def _no_space(answers: Answers) -> tuple[Float64, npt.NDArray[np.bool_], tuple[float, ...]]:
    return np.zeros((*answers.known_NW.shape, 0)), np.zeros(answers.known_NW.shape, bool), ()


def _one_space(answers: Sequence[Answers]) -> tuple[Float64, npt.NDArray[np.bool_], tuple[float, ...]]:
    """Unit vectors `[N, W, D]` in one space, which of them are known, and each teacher's mean cosine to them."""
    if len({each.joint_NWD.shape[-1] for each in answers}) > 1:
        raise ConfigError("the teachers' vectors differ in width; set distillation.vectors=0, or name teachers of one width")
    known = [each.known_NW for each in answers]
    spaces = [each.joint_NWD.astype(np.float64) for each in answers]
    mean_NWD = spaces[0]
    for number in range(1, len(spaces)):
        # Each onto the mean of those before it: they need not all know the same ways.
        before = np.any(known[:number], axis=0)
        spaces[number] = spaces[number] @ _onto(spaces[number], mean_NWD, known[number] & before)
        mean_NWD = _mean(spaces[: number + 1])
    for _ in range(_ROUNDS if len(spaces) > 1 else 0):
        spaces = [space @ _onto(space, mean_NWD, here) for space, here in zip(spaces, known, strict=True)]
        mean_NWD = _mean(spaces)
    cosines = tuple(
        float((space[here] * mean_NWD[here]).sum(-1).mean()) if here.any() else 0.0
        for space, here in zip(spaces, known, strict=True)
    )
    return mean_NWD, np.any(known, axis=0), cosines


def _mean(spaces: Sequence[Float64]) -> Float64:
    """Mean on the unit sphere; what nobody knows stays zero."""
    total = np.sum(spaces, axis=0)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-12))


def _onto(space_NWD: Float64, mean_NWD: Float64, here_NW: npt.NDArray[np.bool_]) -> Float64:
    """The rotation, or rotation and reflection, `[D, D]` that takes a space's rows nearest to the mean's."""
    if not here_NW.any():
        raise ConfigError(
            "the teachers were trained on no modality subset in common, so their vectors can't be compared; "
            "set distillation.vectors=0, or name others"
        )
    left, _, right = np.linalg.svd(space_NWD[here_NW].T @ mean_NWD[here_NW])
    return np.asarray(left @ right)
