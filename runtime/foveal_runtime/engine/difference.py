"""What changes for the same studies when one bundle replaces another: grades, decisions, vectors, sizes, speed.

Runs both bundles' graphs; judges nothing (see `change`). Shapes: N studies, G grades, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.agreement import Changes, changed_decisions, changed_grades
from foveal_runtime.bundle.golden import read_golden
from foveal_runtime.engine.answers import Outcome, Prepared, VectorKind, trained_kinds
from foveal_runtime.engine.engine import Engine
from foveal_runtime.engine.grading import calibration_of, operating_point_of
from foveal_runtime.engine.race import in_turns
from foveal_runtime.errors import StudyError
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.labels import (
    GRADES,
    ICDR,
    REFERABLE_GRADE,
    Head,
    confusion_counts,
    quadratic_kappa,
    referable_probability,
    referral_score,
)
from foveal_runtime.study.study import Study, Subset, subset_name, subset_of

Float = npt.NDArray[np.float64]
_BATCH = 16
_ROUNDS = 9
"""Of timing, in which the bundles take turns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A study that both bundles are asked."""

    load: Callable[[], Study]
    """Reads it; a photograph need not be in memory before its turn."""
    icdr: int | None = None
    """Its label, where there is one."""


@dataclass(kw_only=True, slots=True)
class Part:
    """Both bundles' answers on the studies of one modality subset; the first of each pair is OLD's."""

    probabilities: dict[Head, tuple[list[Float], list[Float]]] = field(default_factory=dict)
    """Calibrated, [G] a study."""
    cosines: dict[VectorKind, list[float]] = field(default_factory=dict)
    labels: list[int | None] = field(default_factory=list)
    """ICDR."""
    ungradable: int = 0
    """Photographs that fail either bundle's gradability check, left out: a server gives no grade of them."""
    unusable: int = 0
    """Studies that can't be read, left out."""

    @property
    def studies(self) -> int:
        """That both bundles answered."""
        return len(self.labels)


class Pair:
    """Two bundles that are asked the same."""

    def __init__(self, old: Engine, new: Engine) -> None:
        """Args:
        old: of the bundle that is served.
        new: of the one that is to replace it.
        """
        self.old, self.new = old, new
        one, two = old.manifest, new.manifest
        self.same_space = one.space_id == two.space_id
        self.subsets = [subset_of(name) for name in one.trained_subsets if name in two.trained_subsets]
        self.heads = [head for head in one.trained_heads if head in two.trained_heads]
        self._kinds = trained_kinds(one) & trained_kinds(two) if self.same_space else frozenset[VectorKind]()
        self._alike = (one.image, one.text, one.features) == (two.image, two.text, two.features)

    def golden(self) -> dict[str, Part]:
        """Both on the golden studies of both, equal ones once, each through the modalities that it has."""
        parts: dict[str, Part] = {}
        for name, studies in self._golden_studies().items():
            asked = [Asked(load=lambda study=study: study) for study in studies]  # type: ignore[misc]
            parts[name] = self._ask(asked, subset_of(name), heed_quality=False)
        return parts

    def data(self, asked: Sequence[Asked]) -> dict[str, Part]:
        """Both on other studies, through every modality subset that both were trained for and a study has."""
        found = {subset_name(subset): self._ask(asked, subset, heed_quality=True) for subset in self.subsets}
        return {name: part for name, part in found.items() if part.studies or part.ungradable or part.unusable}

    def timed(self) -> dict[str, tuple[float, float]]:
        """Milliseconds of one study through the graphs, by subset: OLD's and NEW's, the median of rounds that take turns."""
        found = {}
        for name, studies in self._golden_studies().items():
            works = {
                side: partial(self._run, engine, [engine.prepare(studies[0])])
                for side, engine in (("old", self.old), ("new", self.new))
            }
            ms = in_turns(works, _ROUNDS)
            found[name] = (ms["old"], ms["new"])
        return found

    def _golden_studies(self) -> dict[str, list[Study]]:
        found: dict[str, dict[tuple[Any, ...], Study]] = {}
        for engine in (self.old, self.new):
            for study in read_golden(engine.bundle).studies:
                if study.modalities in self.subsets:
                    key = (study.image, study.note, study.record)
                    found.setdefault(subset_name(study.modalities), {}).setdefault(key, study)
        return {name: list(studies.values()) for name, studies in found.items()}

    def _ask(self, asked: Sequence[Asked], subset: Subset, *, heed_quality: bool) -> Part:
        part = Part(probabilities={head: ([], []) for head in self.heads}, cosines={kind: [] for kind in self._kinds})
        for batch in _batches(self._prepared(asked, subset, part, heed_quality=heed_quality)):
            olds = self._run(self.old, [old for old, _, _ in batch])
            news = self._run(self.new, [new for _, new, _ in batch])
            for old, new, (_, _, label) in zip(olds, news, batch, strict=True):
                part.labels.append(label)
                self._add(part, old, new)
        part.cosines = {kind: found for kind, found in part.cosines.items() if found}
        return part

    def _prepared(
        self, asked: Sequence[Asked], subset: Subset, part: Part, *, heed_quality: bool
    ) -> Iterator[tuple[Prepared, Prepared, int | None]]:
        for each in asked:
            study = each.load()
            if not subset <= study.modalities:
                continue
            try:
                old = self.old.prepare(study.only(subset))
                new = old if self._alike else self.new.prepare(study.only(subset))
            except StudyError:
                part.unusable += 1
                continue
            if old.subset != subset or new.subset != subset:
                part.unusable += 1  # a DICOM header fills a record: the study is then one of another subset
                continue
            if heed_quality and {old.quality, new.quality} - {None, Quality.GRADABLE}:
                part.ungradable += 1
                continue
            yield old, new, each.icdr

    def _run(self, engine: Engine, prepared: Sequence[Prepared]) -> list[Outcome]:
        return engine.run(prepared, kinds=self._kinds, grade=bool(self.heads))

    def _add(self, part: Part, old: Outcome, new: Outcome) -> None:
        for head in self.heads:
            for place, (engine, outcome) in enumerate(((self.old, old), (self.new, new))):
                calibration = calibration_of(engine.manifest, outcome.subset)
                part.probabilities[head][place].append(calibration.probabilities(head, outcome.logits[head]))
        for kind, vector in old.vectors.items():
            part.cosines[kind].append(float(vector @ new.vectors[kind]))


def _batches(rows: Iterator[tuple[Prepared, Prepared, int | None]]) -> Iterator[list[tuple[Prepared, Prepared, int | None]]]:
    while batch := list(islice(rows, _BATCH)):
        yield batch


def grade_changes(part: Part, head: Head, tie_margin: float) -> Changes:
    """Grades that changed from OLD to NEW."""
    old, new = (_stacked(side) for side in part.probabilities[head])
    return changed_grades(old, new, tie_margin)


def decision_changes(pair: Pair, subset: Subset, part: Part, tie_margin: float) -> Changes:
    """Referral decisions that changed, each at its bundle's own operating point."""
    old, new = (_stacked(side) for side in part.probabilities[ICDR])
    return changed_decisions(old, new, thresholds(pair, subset), tie_margin)


def thresholds(pair: Pair, subset: Subset) -> tuple[float, float]:
    """Of both bundles' default operating points for a subset."""
    old, new = (operating_point_of(engine.manifest, subset).threshold for engine in (pair.old, pair.new))
    return old, new


def agreement(part: Part) -> float | None:
    """Quadratic-weighted kappa between both bundles' ICDR grades; None where it is not defined."""
    old, new = (_stacked(side).argmax(axis=1) for side in part.probabilities[ICDR])
    return quadratic_kappa(confusion_counts(old, new))


def merged(parts: Sequence[Part]) -> Part:
    """Several subsets' answers as one."""
    heads = {head for part in parts for head in part.probabilities}
    return Part(
        probabilities={
            head: (
                [p for part in parts for p in part.probabilities[head][0]],
                [p for part in parts for p in part.probabilities[head][1]],
            )
            for head in heads
        },
        labels=[label for part in parts for label in part.labels],
    )


def against_labels(pair: Pair, subset: Subset, part: Part) -> dict[str, Any]:
    """Kappa, sensitivity and specificity of both bundles on the labelled studies; empty where none has a label."""
    known = [place for place, label in enumerate(part.labels) if label is not None]
    if not known or ICDR not in part.probabilities:
        return {}
    labels_N = np.asarray([part.labels[place] for place in known], np.int64)
    positive_N = labels_N >= REFERABLE_GRADE
    figures: dict[str, Any] = {"studies": len(known), "referable": int(positive_N.sum())}
    for side, name, threshold in zip(part.probabilities[ICDR], ("old", "new"), thresholds(pair, subset), strict=True):
        probability_NG = _stacked(side)[known]
        referred_N = referral_score(probability_NG) >= threshold
        figures[name] = {
            "kappa": quadratic_kappa(confusion_counts(labels_N, probability_NG.argmax(axis=1))),
            "sensitivity": _share(referred_N[positive_N]),
            "specificity": _share(~referred_N[~positive_N]),
        }
    return figures


def referral_shift(part: Part) -> float:
    """Mean change of the probability of referable retinopathy."""
    old, new = (referable_probability(_stacked(side)) for side in part.probabilities[ICDR])
    return float((new - old).mean()) if len(old) else 0.0


def _stacked(rows: Sequence[Float]) -> Float:
    return np.stack(rows) if rows else np.zeros((0, GRADES))


def _share(true_N: npt.NDArray[np.bool_]) -> float | None:
    return float(true_N.mean()) if len(true_N) else None
