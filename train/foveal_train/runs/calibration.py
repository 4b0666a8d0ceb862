"""Fit what makes logits readable on validation data: a temperature a head, operating points for referable DR. Judges nothing.

Everything is fitted for each modality subset by itself: an image alone is less sure than an image with a note, and a
threshold of one would be wrong for the other. Shapes: N studies, G grades.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.manifest import OperatingPoint, SubsetCalibration
from foveal_runtime.study.labels import REFERABLE_GRADE, Head, referral_score, softmax
from foveal_runtime.study.study import Subset, subset_name
from foveal_train.model.model import MultimodalModel
from foveal_train.runs.predict import Showing, predict_each
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.losses import MISSING

Float64 = npt.NDArray[np.float64]

MIN_LABELLED = 20
"""Labelled studies below which a temperature is noise, so 1.0 stays."""
MIN_PATIENTS = 29
"""Patients with referable DR below which even finding all of them shows no sensitivity of 0.90: the default point stays."""
MIN_OTHERS = 10
"""Studies without referable DR, likewise for what a point costs."""
CONFIDENCE = 0.95
"""Of the one-sided bound of the sensitivity."""
CROSS_FITS = 5
TEMPERATURE_BOUNDS = (0.25, 8.0)
"""A validation set that is classified without error would otherwise ask for a temperature of 0 and certainty of everything."""
DEFAULT_POINT = OperatingPoint(name="default 0.5", threshold=0.5)
TARGET = 0.90
"""Of both operating points."""


def fit(
    model: MultimodalModel, validation: StudyArrays, heads: Sequence[Head], subsets: Sequence[Subset]
) -> dict[str, SubsetCalibration]:
    """Calibrate every trained subset on validation data.

    Args:
        model: its mode is restored afterwards.
        validation: studies that training did not learn from.
        heads: trained heads; others get no temperature.
        subsets: trained modality subsets.

    Returns:
        By `subset_name`. A subset that too few labelled validation studies have keeps temperature 1.0 and the default
        threshold 0.5, marked by `studies=0`.
    """
    calibrated: dict[str, SubsetCalibration] = {}
    showings = [Showing(present_NM=validation.showing(subset)) for subset in subsets]
    for subset, predictions in zip(subsets, predict_each(model, validation, showings), strict=True):
        labels = {head: validation.labels[head][predictions.rows] for head in heads}
        temperature = {head: fit_temperature(predictions.logits[head], labels[head]) for head in heads}
        points: tuple[OperatingPoint, ...] = ()
        if Head.ICDR in labels:
            patients = [validation.samples[row].patient_id for row in predictions.rows]
            points = fit_points(predictions.logits[Head.ICDR], labels[Head.ICDR], patients)
        calibrated[subset_name(subset)] = SubsetCalibration(temperature=temperature, operating_points=points)
    return calibrated


def negative_log_likelihood(logits_NG: npt.ArrayLike, labels_N: npt.NDArray[np.int64], temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the labels, in nats; every label must be known."""
    scaled = np.asarray(logits_NG, np.float64) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_total - shifted[np.arange(len(labels_N)), labels_N]))


def fit_temperature(logits_NG: npt.ArrayLike, labels_N: npt.NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017), within `TEMPERATURE_BOUNDS`.

    Args:
        logits_NG: raw logits.
        labels_N: grades, `MISSING` where unknown.

    Returns:
        1.0 with fewer than `MIN_LABELLED` labelled studies, or when they are all of one grade.
    """
    from scipy.optimize import minimize_scalar

    known = labels_N != MISSING
    logits, labels = np.asarray(logits_NG, np.float64)[known], labels_N[known]
    if len(labels) < MIN_LABELLED or np.unique(labels).size < 2:
        return 1.0
    low, high = np.log(TEMPERATURE_BOUNDS)
    # In log T: halving and doubling then weigh the same, and the likelihood has one minimum in 1/T.
    best = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, float(np.exp(log_t))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(best.x))


def rates(scores_N: Float64, positive_N: npt.NDArray[np.bool_], thresholds_K: Float64) -> tuple[Float64, Float64]:
    """Sensitivity and specificity of `score >= threshold` at each threshold; both classes must occur."""
    positives, negatives = np.sort(scores_N[positive_N]), np.sort(scores_N[~positive_N])
    sensitivity_K = 1 - np.searchsorted(positives, thresholds_K, side="left") / positives.size
    specificity_K = np.searchsorted(negatives, thresholds_K, side="left") / negatives.size
    return sensitivity_K, specificity_K


def fit_points(
    logits_NG: npt.ArrayLike, labels_N: npt.NDArray[np.int64], patients: Sequence[str]
) -> tuple[OperatingPoint, ...]:
    """Operating points of one modality subset, on cross-fitted scores (docs/decision-rule.md).

    A study's score is calibrated by a temperature that was fitted without its patient, as the scores of strangers will be.

    Args:
        logits_NG: raw ICDR logits.
        labels_N: ICDR grades, `MISSING` where unknown.
        patients: whose studies they are.
    """
    known_N = labels_N != MISSING
    logits, labels = np.asarray(logits_NG, np.float64)[known_N], labels_N[known_N]
    _, patient_N = np.unique(np.asarray(patients, dtype=object)[known_N].astype(str), return_inverse=True)
    scores_N = np.empty(len(labels))
    for fold in range(CROSS_FITS):
        inside = patient_N % CROSS_FITS == fold
        scores_N[inside] = referral_score(softmax(logits[inside], fit_temperature(logits[~inside], labels[~inside])))
    return fit_operating_points(scores_N, labels >= REFERABLE_GRADE, patient_N)


def fit_operating_points(
    scores_N: Float64, positive_N: npt.NDArray[np.bool_], patient_N: npt.NDArray[np.int64]
) -> tuple[OperatingPoint, ...]:
    """Thresholds on the referral score; every figure of a point is of the rule that is served.

    The first point, the default one, is the highest threshold that finds patients with referable DR with a sensitivity of 0.90
    or more, by the lower bound of Clopper and Pearson (1934); a patient is found when one of their referable studies is. The
    second is the lowest that leaves at least 90 % of the other studies alone. Thresholds lie midway between two scores, so
    that a rounding of either (INT8, another machine) does not change the decision.

    Args:
        scores_N: see `foveal_runtime.study.labels.referral_score`.
        positive_N: whether the study is referable.
        patient_N: number of the patient.

    Returns:
        `DEFAULT_POINT` alone with fewer than `MIN_PATIENTS` patients with referable DR or `MIN_OTHERS` other studies.
    """
    from scipy.stats import beta

    owners, at = np.unique(patient_N[positive_N], return_inverse=True)
    if owners.size < MIN_PATIENTS or (~positive_N).sum() < MIN_OTHERS:
        return (DEFAULT_POINT,)
    distinct = np.unique(scores_N)
    thresholds_K = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [min(1.0, (distinct[-1] + 1) / 2)]])
    sensitivity_K, specificity_K = rates(scores_N, positive_N, thresholds_K)
    highest_P = np.full(owners.size, -np.inf)
    np.maximum.at(highest_P, at, scores_N[positive_N])
    found_K = owners.size - np.searchsorted(np.sort(highest_P), thresholds_K, side="left")
    low_K = np.nan_to_num(beta.ppf(1 - CONFIDENCE, found_K, owners.size - found_K + 1))
    chosen = [(f"sensitivity>={TARGET:.2f}", int(np.flatnonzero(low_K >= TARGET)[-1]))]  # threshold 0 finds everyone
    specific = np.flatnonzero(specificity_K >= TARGET)
    if specific.size:  # none: more than a tenth of the others have a referable grade
        chosen.append((f"specificity>={TARGET:.2f}", int(specific[0])))
    return tuple(
        OperatingPoint(
            name=name,
            threshold=float(thresholds_K[k]),
            sensitivity=float(sensitivity_K[k]),
            sensitivity_low=float(low_K[k]),
            specificity=float(specificity_K[k]),
            patients=int(owners.size),
            studies=int(positive_N.size),
        )
        for name, k in chosen
    )
