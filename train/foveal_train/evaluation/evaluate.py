"""Evaluate a model on decoded studies: grading for every input, subgroups, retrieval in both protocols. Draws nothing.

Figures come from the modules beside this one; here they are only asked for, named and warned about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.calibration import SubsetCalibration
from foveal_runtime.engine.fits import DEFAULT_POINT
from foveal_runtime.study.labels import ICDR, MISSING, REFERABLE_GRADE, Head, referable_probability, referral_score, softmax
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.study import subset_name
from foveal_train.evaluation.grading import grade_figures
from foveal_train.evaluation.inputs import FULL, PHOTOGRAPH, Answers, Trained, answers
from foveal_train.evaluation.intervals import LEVEL, Resamples, figure, resample
from foveal_train.evaluation.patients import gradable_photographs, names_patients, patient_figures
from foveal_train.evaluation.protocols import retrieval_figures
from foveal_train.evaluation.referable import macro_auroc, referable_figures
from foveal_train.evaluation.reliability import calibration_error, reliability
from foveal_train.evaluation.subgroups import ATTRIBUTES, subgroups
from foveal_train.evaluation.warn import warnings_of
from foveal_train.model.model import MultimodalModel
from foveal_train.training.arrays import Progress, StudyArrays

SCHEMA_VERSION = 1


def evaluate_arrays(
    model: MultimodalModel,
    arrays: StudyArrays,
    info: Trained,
    *,
    seed: int = 0,
    bootstrap: int = 1000,
    tokenise: NoteTokeniser,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a model.

    Args:
        model: its mode is restored afterwards.
        arrays: held-out studies.
        info: trained heads and subsets, calibration, aligned modalities; a `RunInfo` will do.
        seed: of the bootstrap.
        bootstrap: replicates; 0 gives figures without intervals.
        tokenise: the run's tokenizer, for notes whose DR sentences were removed.
        progress: called with (done, total) studies as the model answers.

    Returns:
        A JSON document. A *figure* is `{"value": float | None, "interval": [low, high] | None, "n": int, "reason"?: str,
        "method"?: str}`: 95 % bootstrap interval over patients, a reason wherever something is None.

        - `schema_version`, `seed`, `bootstrap`, `level`, `studies`, `patients`, `subsets` (trained), `heads` (trained),
          `classes` {head: names}
        - `grading`: by input (`full`, `full_without_dr`, `image+structured`, `image`, further trained subsets):
          `title`, `studies`, `untrained` (left out), `subsets` {name: studies}, `same_as` (an input that shows the same, or
          None), `heads` {head: below}
        - a head: `n`, `patients`, `counts` [G], `majority` {`grade`, `accuracy` figure, `balanced_accuracy`, `kappa`},
          figures `accuracy`, `above_majority`, `balanced_accuracy`, `kappa` (quadratic-weighted), `macro_auroc` (mean over
          the grades that occur), `recall` [G figures], `confusion` [G][G] (true grade in rows), `temperature` {subset: T},
          `ece` {`before`, `after`: figures} of the
          answered grade, `reliability` {`before`, `after`: bins {from, to, n, predicted, observed}}; for `icdr` also
          `referable` {`n`, `positives`, figures `auroc`, `brier`, `ece`, `reliability` bins, `roc` {false_positive_rate,
          true_positive_rate} | None, `operating_points` [{`name`, `fitted`, `threshold`, `thresholds`, `n`, `flagged`,
          figures `sensitivity`, `specificity`}]}
        - `subgroups`: {input: {attribute: {value: {n, patients, figures accuracy, balanced_accuracy, kappa, auroc,
          sensitivity, specificity}}}}
        - `patient_level`: {input: {`patients`, `referable`, `without_gradable` (patients), `undecided` (no referable
          photograph, one that can't be graded), figure `kappa` of the worst gradable photograph, `undecided_referred` and
          `undecided_cleared`: {figures `sensitivity`, `specificity`, at the default operating point}}}; empty where the data
          name no patients
        - `retrieval`: None with `retrieval_reason`, or {`independent`, `joint`: each None with a reason in `left_out`, or
          {`description`, `aligned`, `text_to_image`, `image_to_text`: {`queries`, `gallery`, `distinct_notes`, `strict`
          {`recall` {K: figure}, `ceiling` {K: float}, `chance` {K: float}}, `labels` {`findings` | `note` | `icdr`:
          {`recall` {K: figure}, figures `map`, `ndcg`, `ndcg_at`, `chance` {...}, `best` {...} of a query that knows the
          note alone (None: not worked out)}}}}}
        - `left_out` [{`what`, `reason`}], `warnings` [sentence]
    """
    drawn = resample([sample.patient_id for sample in arrays.samples], count=bootstrap, seed=seed)
    asked, left_out = answers(model, arrays, info, tokenise, progress)
    grading: dict[str, Any] = {}
    for one in asked:
        heads: dict[str, Any] = {}
        for head in info.trained_heads:
            known = arrays.labels[head][one.predictions.rows] != MISSING
            if known.any():
                heads[head] = _head_figures(head, one, arrays, known, info, drawn)
            elif one.name == FULL:
                left_out.append({"what": head, "reason": "no study has a label for this head"})
        grading[one.name] = {
            "title": one.title,
            "studies": len(one.predictions.rows),
            "untrained": one.untrained,
            "subsets": one.subsets,
            "same_as": one.same_as,
            "heads": heads,
        }
    retrieval, reasons = retrieval_figures(asked, arrays, info, drawn)
    metrics: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "bootstrap": bootstrap,
        "level": LEVEL,
        "studies": len(arrays),
        "patients": drawn.patients,
        "heads": list(info.trained_heads),
        "classes": {head: list(info.head_classes[head]) for head in info.trained_heads},
        "subsets": [subset_name(subset) for subset in info.subsets],
        "grading": grading,
        "subgroups": _subgroup_figures(asked, arrays, info, drawn),
        "patient_level": _patient_level(asked, arrays, info, drawn),
        "retrieval": retrieval,
        "left_out": [*left_out, *reasons],
    }
    return {**metrics, "warnings": warnings_of(metrics)}


def _calibrations(one: Answers, info: Trained) -> list[SubsetCalibration]:
    """The calibration that belongs to what each study showed."""
    none = SubsetCalibration()
    return [info.calibration.get(name, none) for name in one.shown_S]


def _probabilities(
    head: Head, one: Answers, info: Trained, known: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probabilities before and after temperature scaling."""
    logits = one.predictions.logits[head].astype(np.float64)[known]
    temperature = np.asarray([c.temperature.get(head, 1.0) for c in _calibrations(one, info)])[known]
    return softmax(logits), softmax(logits / temperature[:, None])


def _head_figures(
    head: Head, one: Answers, arrays: StudyArrays, known: npt.NDArray[np.bool_], info: Trained, drawn: Resamples
) -> dict[str, Any]:
    rows = one.predictions.rows[known]
    truth, here = arrays.labels[head][rows], drawn.at(rows)
    before, after = _probabilities(head, one, info, known)
    answer = after.argmax(1)
    right = answer == truth
    temperature = {name: info.calibration[name].temperature.get(head, 1.0) for name in one.subsets if name in info.calibration}
    figures = {
        **grade_figures(truth, answer, here, after.shape[1]),
        "macro_auroc": figure(
            float(macro_auroc(after, truth)[0]),
            macro_auroc(after, truth, here.weights_RN),
            n=len(truth),
            patients=here.patients,
            undefined="needs studies of two grades",
        ),
        "temperature": temperature,
        "ece": {
            "before": calibration_error(before.max(1), right, here),
            "after": calibration_error(after.max(1), right, here),
        },
        "reliability": {"before": reliability(before.max(1), right), "after": reliability(after.max(1), right)},
    }
    if head != ICDR:
        return figures
    scores, positive = referable_probability(after), truth >= REFERABLE_GRADE
    # Without a fitted point the runtime decides at 0.5, so that is what is measured, marked as not fitted.
    points = [c.operating_points or (DEFAULT_POINT,) for c, has in zip(_calibrations(one, info), known, strict=True) if has]
    referable = referable_figures(scores, positive, points, here, decided_by_N=referral_score(after))
    referable["ece"] = calibration_error(scores, positive, here)
    referable["reliability"] = reliability(scores, positive)
    return {**figures, "referable": referable}


def _patient_level(asked: list[Answers], arrays: StudyArrays, info: Trained, drawn: Resamples) -> dict[str, Any]:
    """Figures over patients, for everything and for the photograph alone."""
    if ICDR not in info.trained_heads or not names_patients(arrays.samples):
        return {}
    gradable_N = gradable_photographs(arrays.samples, arrays.image_spec)
    found: dict[str, Any] = {}
    for one in asked:
        if one.name not in (FULL, PHOTOGRAPH) or one.same_as in found:
            continue
        known = arrays.labels[ICDR][one.predictions.rows] != MISSING
        if not known.any():
            continue
        rows = one.predictions.rows[known]
        _, after = _probabilities(ICDR, one, info, known)
        points = [(c.operating_points or (DEFAULT_POINT,))[0] for c in _calibrations(one, info)]
        thresholds = np.asarray([point.threshold for point in points])[known]
        referred = referral_score(after) >= thresholds
        truth = arrays.labels[ICDR][rows]
        found[one.name] = patient_figures(truth, after.argmax(1), referred, gradable_N[rows], drawn.at(rows))
    return found


def _subgroup_figures(asked: list[Answers], arrays: StudyArrays, info: Trained, drawn: Resamples) -> dict[str, Any]:
    """Figures of the ICDR grade (else of the first trained head) by subgroup, for everything and for the photograph alone."""
    if not info.trained_heads:
        return {}
    head = ICDR if ICDR in info.trained_heads else info.trained_heads[0]
    found: dict[str, Any] = {}
    for one in asked:
        if one.name not in (FULL, PHOTOGRAPH) or one.same_as in found:
            continue
        samples = [arrays.samples[row] for row in one.predictions.rows]
        labelled = arrays.labels[head][one.predictions.rows] != MISSING
        attributes: dict[str, Any] = {}
        for attribute in ATTRIBUTES:
            groups = {}
            for value, member in subgroups(samples, attribute).items():
                known = member & labelled
                if known.any():
                    groups[value] = _short(_head_figures(head, one, arrays, known, info, drawn))
            if groups:
                attributes[attribute] = groups
        if attributes:
            found[one.name] = attributes
    return found


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """What a subgroup table shows of a head."""
    kept = {key: figures[key] for key in ("n", "patients", "accuracy", "balanced_accuracy", "kappa")}
    if "referable" in figures:
        referable = figures["referable"]
        kept["positives"] = referable["positives"]
        kept["auroc"] = referable["auroc"]
        if referable["operating_points"]:
            point = referable["operating_points"][0]
            kept |= {"point": point["name"], "sensitivity": point["sensitivity"], "specificity": point["specificity"]}
    return kept
