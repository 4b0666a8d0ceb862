"""Fit what makes logits readable: temperatures, a site's prior, operating points for referable DR, grade sets. Runs no model.

Everything is fitted for each modality subset by itself: an image alone is less sure than an image with a note, and a
threshold of one would be wrong for the other. Needs scipy, which serving does not have: training and `foveal adapt` bring it.
Shapes: N studies, G grades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.calibration import GradeSetRule, OperatingPoint, SubsetCalibration, calibrated
from foveal_runtime.study.gradeset import set_quantile, set_scores
from foveal_runtime.study.labels import ICDR, MISSING, REFERABLE_GRADE, Head, referral_score

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
COVERAGE = 0.90
"""Of grade sets."""
PRIOR_PENALTY = 1.0
"""What a site's prior costs: the squares of its log odds, times this, in nats of the whole site. Fifty studies of which none is
of some grade don't show that there are none."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """What turns one head's raw logits into probabilities."""

    temperature: float = 1.0
    bias_G: tuple[float, ...] = ()
    """Added to the logits first; empty adds nothing."""

    def probabilities(self, logits_NG: npt.ArrayLike) -> Float64:
        """Along the last axis."""
        return calibrated(logits_NG, self.temperature, self.bias_G)


def fit_scaling(logits_NG: npt.ArrayLike, labels_N: npt.NDArray[np.int64], *, prior: bool = False) -> Scaling:
    """The temperature, and with `prior` a bias a grade, of least negative log-likelihood.

    Args:
        logits_NG: raw logits.
        labels_N: grades, `MISSING` where unknown.
        prior: fit biases as well: how common the grades are at a site. They sum to 0, and large ones are penalised.
    """
    from scipy.optimize import minimize

    temperature = fit_temperature(logits_NG, labels_N)
    known = labels_N != MISSING
    logits, labels = np.asarray(logits_NG, np.float64)[known], labels_N[known]
    if not prior or len(labels) < MIN_LABELLED or np.unique(labels).size < 2:
        return Scaling(temperature=temperature)

    def cost(values: Float64) -> float:
        loss = negative_log_likelihood(logits / np.exp(values[0]) + values[1:], labels)
        return loss + PRIOR_PENALTY * float(np.square(values[1:]).sum()) / len(labels)

    start = np.concatenate([[np.log(temperature)], np.zeros(logits.shape[1])])
    bounds = [tuple(np.log(TEMPERATURE_BOUNDS))] + [(-10.0, 10.0)] * logits.shape[1]
    found = minimize(cost, start, method="L-BFGS-B", bounds=bounds).x
    temperature = float(np.exp(found[0]))
    bias_G = (found[1:] - found[1:].mean()) * temperature
    return Scaling(temperature=temperature, bias_G=tuple(float(each) for each in bias_G))


def fit_subset(
    logits: Mapping[Head, npt.ArrayLike],
    labels: Mapping[Head, npt.NDArray[np.int64]],
    patients: Sequence[str],
    *,
    prior: bool = False,
) -> SubsetCalibration:
    """Everything that makes the logits of one modality subset readable.

    Args:
        logits: raw ones `[N, G]`, of every trained head.
        labels: grades `[N]` of the same, `MISSING` where unknown.
        patients: whose studies they are.
        prior: see `fit_scaling`.

    Returns:
        Of too few labelled studies: temperature 1, the default point with `studies=0`, no grade set.
    """
    scalings = {head: fit_scaling(logits[head], labels[head], prior=prior) for head in logits}
    found = SubsetCalibration(
        temperature={head: each.temperature for head, each in scalings.items()},
        bias={head: each.bias_G for head, each in scalings.items() if each.bias_G},
    )
    if ICDR not in logits:
        return found
    known_N = labels[ICDR] != MISSING
    grades_N = labels[ICDR][known_N]
    probabilities_NG, patient_N = cross_fitted(logits[ICDR], labels[ICDR], patients, prior=prior)
    points = fit_operating_points(referral_score(probabilities_NG), grades_N >= REFERABLE_GRADE, patient_N)
    return found.model_copy(update={"operating_points": points, "grade_set": fit_grade_set(probabilities_NG, grades_N)})


def cross_fitted(
    logits_NG: npt.ArrayLike, labels_N: npt.NDArray[np.int64], patients: Sequence[str], *, prior: bool = False
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Probabilities `[K, G]` of the labelled studies, and the number `[K]` of the patient of each.

    A study is scaled by what was fitted without its patient, as those of strangers will be.

    Args:
        logits_NG: raw logits.
        labels_N: grades, `MISSING` where unknown.
        patients: whose studies they are.
        prior: see `fit_scaling`.
    """
    known_N = labels_N != MISSING
    logits, labels = np.asarray(logits_NG, np.float64)[known_N], labels_N[known_N]
    _, patient_N = np.unique(np.asarray(patients, dtype=object)[known_N].astype(str), return_inverse=True)
    probabilities_NG = np.empty(logits.shape)
    for fold in range(CROSS_FITS):
        inside = patient_N % CROSS_FITS == fold
        if inside.any():
            probabilities_NG[inside] = fit_scaling(logits[~inside], labels[~inside], prior=prior).probabilities(logits[inside])
    return probabilities_NG, patient_N


def fit_grade_set(
    probabilities_NG: Float64, labels_N: npt.NDArray[np.int64], coverage: float = COVERAGE
) -> GradeSetRule | None:
    """How large grade sets have to be (`foveal_runtime.study.gradeset`).

    Args:
        probabilities_NG: of studies that calibration did not see, such as `cross_fitted`'s.
        labels_N: their grades.
        coverage: share of strangers whose grade is to be in their set.

    Returns:
        None with fewer than `MIN_LABELLED` studies.
    """
    if len(labels_N) < MIN_LABELLED:
        return None
    scores_N = set_scores(probabilities_NG)[np.arange(len(labels_N)), labels_N]
    return GradeSetRule(coverage=coverage, quantile=set_quantile(scores_N, coverage), studies=len(labels_N))


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
