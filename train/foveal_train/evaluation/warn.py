"""Sentences that keep a reader from taking a figure for more than it is. Computes nothing new."""

from __future__ import annotations

from typing import Any

from foveal_runtime.study.labels import SCHEMES
from foveal_runtime.study.study import Modality
from foveal_train.evaluation.inputs import FULL, PHOTOGRAPH, PHOTOGRAPH_AND_RECORD, WITHOUT_DR

LOPSIDED = 0.8
"""Share of one grade from which accuracy says little."""
FEW_STUDIES = 100
FEW_OF_A_GRADE = 10
NOTICEABLE = 0.05
"""Difference of kappa that is worth a sentence."""


def percent(value: float) -> str:
    """93.8 %"""
    return f"{100 * value:.1f} %"


def warnings_of(metrics: dict[str, Any]) -> list[str]:
    """What must be said beside the figures."""
    grading = metrics["grading"]
    found: list[str] = []
    reference = grading.get(FULL) or next(iter(grading.values()), None)
    if reference is None:
        return ["nothing could be measured: no study shows what this run was trained for"]
    for head, figures in reference["heads"].items():
        found += _grades(head.upper(), figures)
    for head in metrics["heads"]:
        found += _no_better_than_chance(head, grading)
    if reference["untrained"]:
        found.append(
            f"{reference['untrained']} studies are left out of {FULL!r}: what they hold was never trained together, "
            "and an untrained subset has no answer."
        )
    if WITHOUT_DR in grading:
        found.append(
            'Notes name the label ("Diabetic retinopathy is present"): figures of inputs with the full note measure reading, '
            "not seeing. Judge grading by the input without such sentences, by photograph and record, and by the photograph."
        )
        for head in metrics["heads"]:
            found += _silence_taken_for_health(head, grading)
    further = [head for head in metrics["heads"] if head not in SCHEMES]
    with_notes = any(Modality.TEXT.value in subset.split("+") for one in grading.values() for subset in one["subsets"])
    if further and with_notes:
        found.append(
            f"Notes are shown to {', '.join(further)} as they are, and may name what these heads tell: judge them by the "
            "photograph."
        )
    image = grading.get(PHOTOGRAPH, {}).get("heads", {}).get("icdr")
    for point in (image or {}).get("referable", {}).get("operating_points", []):
        if not point["fitted"]:
            found.append(
                "The threshold for referable DR is the default 0.5, not a fitted one: validation had too few studies with or "
                "without referable DR."
            )
            break
    found += retrieval_warnings(metrics["retrieval"])
    return found


def _grades(head: str, figures: dict[str, Any]) -> list[str]:
    found = []
    base = figures["majority"]
    share = base["accuracy"]["value"]
    if share >= LOPSIDED:
        found.append(
            f"{head}: {percent(share)} of the graded studies have grade {base['grade']}, so always answering "
            f"{base['grade']} is already {percent(share)} accurate. Read balanced accuracy, kappa and "
            "recall instead of accuracy."
        )
    if figures["n"] < FEW_STUDIES:
        found.append(f"{head}: only {figures['n']} graded studies; the intervals are wide and one study moves every figure.")
    rare = [f"{grade} ({count})" for grade, count in enumerate(figures["counts"]) if 0 < count < FEW_OF_A_GRADE]
    if rare:
        found.append(f"{head}: fewer than {FEW_OF_A_GRADE} studies of grade {', '.join(rare)}; their recall is anecdotal.")
    absent = [str(grade) for grade, count in enumerate(figures["counts"]) if not count]
    if absent:
        found.append(f"{head}: no study of grade {', '.join(absent)}; balanced accuracy is over the grades that occur.")
    return found


def _silence_taken_for_health(head: str, grading: dict[str, Any]) -> list[str]:
    """A note that does not name DR makes grading worse than no note at all."""
    stripped = grading[WITHOUT_DR]["heads"].get(head, {}).get("kappa", {}).get("value")
    for name in (PHOTOGRAPH_AND_RECORD, PHOTOGRAPH):
        kappa = grading.get(name, {}).get("heads", {}).get(head, {}).get("kappa", {})
        without_note, interval = kappa.get("value"), kappa.get("interval")
        if stripped is None or without_note is None or (interval is not None and interval[0] <= 0):
            continue  # a model that can't grade the eye has nothing that a note could spoil
        if without_note - stripped > NOTICEABLE:
            return [
                f"{head.upper()}: with a note that does not name diabetic retinopathy kappa is {stripped:.2f}, with no note at "
                f"all ({grading[name]['title']}) {without_note:.2f}: the model takes the note's silence for health. Do not "
                "send it notes that were written before the eye was graded."
            ]
    return []


def _no_better_than_chance(head: str, grading: dict[str, Any]) -> list[str]:
    titles = []
    for one in grading.values():
        interval = one["heads"].get(head, {}).get("kappa", {}).get("interval")
        if one["same_as"] is None and interval is not None and interval[0] <= 0:
            titles.append(f"“{one['title']}”")
    return [f"{head.upper()}: kappa can't be told from 0, that is from chance, for {', '.join(titles)}."] if titles else []


def retrieval_warnings(retrieval: dict[str, Any] | None) -> list[str]:
    """What must be said beside retrieval's figures."""
    found = []
    independent = (retrieval or {}).get("independent")
    if independent:
        ceiling = independent["text_to_image"]["strict"]["ceiling"]["1"]
        notes, queries = independent["text_to_image"]["distinct_notes"], independent["text_to_image"]["queries"]
        found.append(
            f"Retrieval: {queries} queries share {notes} distinct notes, so no text-only query can exceed {percent(ceiling)} "
            "strict R@1 on this gallery, whatever the model."
        )
        if not independent["aligned"]:
            found.append(
                "Retrieval: training did not align the photograph and note vectors of independent passes; the independent "
                "figures show what a real query would get all the same."
            )
    if (retrieval or {}).get("joint"):
        found.append(
            "Retrieval: the joint protocol lets the photograph leak into the text vector. It is reported because it is the "
            "only reading found under which the paper's 99.94 % and CLIP's 1.29 % fit one table; no clinic could search so."
        )
    return found
