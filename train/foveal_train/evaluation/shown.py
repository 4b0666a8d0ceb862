"""The inputs of a metrics document as a table or a report shows them: each once, named in full. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveal_runtime.study.labels import SCHEMES
from foveal_runtime.study.study import Modality
from foveal_train.evaluation.inputs import FULL, MAIN_INPUTS, PHOTOGRAPH, PHOTOGRAPH_AND_RECORD, WITHOUT_DR


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One input with the figures of one head."""

    name: str
    title: str
    """In words, with the other inputs that show the very same."""
    figures: dict[str, Any]
    reads_label: bool
    """The notes it shows name diabetic retinopathy, or may name what a further head grades: its figures measure reading, not
    seeing."""

    @property
    def main(self) -> bool:
        """One of the four that every report needs."""
        return self.name in MAIN_INPUTS


def shown_inputs(metrics: Mapping[str, Any], head: str) -> list[Shown]:
    """Inputs with figures for `head`, each shown once, the four of DESIGN section 4 first."""
    grading = metrics["grading"]
    found = []
    for name, one in grading.items():
        if one["same_as"] is not None or head not in one["heads"]:
            continue
        twins = [other["title"] for other in grading.values() if other["same_as"] == name]
        text = any(Modality.TEXT.value in subset.split("+") for subset in one["subsets"])
        hidden = head in SCHEMES and (WITHOUT_DR not in grading or name == WITHOUT_DR)
        found.append(
            Shown(
                name=name,
                title=" = ".join([one["title"], *twins]),
                figures=one["heads"][head],
                reads_label=text and not hidden,
            )
        )
    return found


def main_inputs(metrics: Mapping[str, Any], head: str) -> list[Shown]:
    """The four that every report needs, or all when none of them was trained."""
    every = shown_inputs(metrics, head)
    return [one for one in every if one.main] or every


def judged(metrics: Mapping[str, Any], head: str) -> tuple[str, dict[str, Any]] | None:
    """The input by which the model should be judged, title and figures: the photograph alone, else the next best."""
    grading = metrics["grading"]
    for name in (PHOTOGRAPH, PHOTOGRAPH_AND_RECORD, WITHOUT_DR, FULL, *grading):
        if name in grading and head in grading[name]["heads"]:
            return str(grading[name]["title"]), grading[name]["heads"][head]
    return None
