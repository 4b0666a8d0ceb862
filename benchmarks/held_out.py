"""What answers on held-out photographs say: kappa, AUROC, and what a factor of a two-level design was worth. Trains nothing.

Shapes: N photographs, G grades. Intervals: 95 % bootstrap over photographs (IDRiD names no patients), paired between trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.study.labels import REFERABLE_GRADE, referable_probability, softmax
from foveal_train.evaluation.grading import confusion_matrix, confusion_replicates, grade_figures, quadratic_kappa
from foveal_train.evaluation.intervals import Resamples, resample
from foveal_train.evaluation.referable import auroc, macro_auroc, referable_figures

BOOTSTRAP = 2000

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Logits of held-out photographs, as they are and through a simulated camera."""

    ids: tuple[str, ...]
    labels_N: Int
    plain_NG: Float
    camera_NG: Float

    def save(self, path: Path) -> None:
        """Write, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, ids=np.asarray(self.ids), labels=self.labels_N, plain=self.plain_NG, camera=self.camera_NG)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what `save` wrote."""
        with np.load(path) as file:
            ids = tuple(str(name) for name in file["ids"])
            return cls(ids=ids, labels_N=file["labels"], plain_NG=file["plain"], camera_NG=file["camera"])

    @classmethod
    def together(cls, parts: Sequence[Answers]) -> Answers:
        """Those of several folds."""
        ids = tuple(name for part in parts for name in part.ids)
        assert len(set(ids)) == len(ids), "a photograph was held out twice"
        labels, plain, camera = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("labels_N", "plain_NG", "camera_NG")
        )
        return cls(ids=ids, labels_N=labels, plain_NG=plain, camera_NG=camera)


def quality(logits_NG: Float, labels_N: Int) -> tuple[float, float]:
    """Quadratic-weighted kappa of the likeliest grade, and referable AUROC."""
    found = kappa_and_auroc(logits_NG, labels_N)
    return found["kappa"].item(), found["auroc"].item()


def kappa_and_auroc(logits_NG: Float, labels_N: Int, resamples: Resamples | None = None) -> dict[str, Float]:
    """`kappa` and `auroc` as `quality` has them, of each replicate; of the photographs themselves without."""
    grades, weights = logits_NG.argmax(-1), None if resamples is None else resamples.weights_RN
    confusion = (
        confusion_matrix(labels_N, grades)[None] if resamples is None else confusion_replicates(labels_N, grades, resamples)
    )
    scores = referable_probability(softmax(logits_NG))
    return {"kappa": quadratic_kappa(confusion), "auroc": auroc(scores, labels_N >= REFERABLE_GRADE, weights)}


def judged(logits_NG: Float, labels_N: Int, seed: int) -> dict[str, Any]:
    """Kappa, accuracy and AUROC with intervals over photographs."""
    resamples = resample([str(i) for i in range(len(labels_N))], count=BOOTSTRAP, seed=seed)
    probabilities = softmax(logits_NG)
    expected = np.round(probabilities @ np.arange(probabilities.shape[-1])).astype(np.int64)
    icdr = grade_figures(labels_N, probabilities.argmax(-1), resamples)
    referable = referable_figures(
        referable_probability(probabilities), labels_N >= REFERABLE_GRADE, [()] * len(labels_N), resamples
    )
    return {
        "kappa": icdr["kappa"],
        "kappa_of_rounded_expectation": grade_figures(labels_N, expected, resamples)["kappa"],
        "accuracy": icdr["accuracy"],
        "auroc": referable["auroc"],
    }


def replicates_of(logits_NG: Float, labels_N: Int, resamples: Resamples | None = None) -> dict[str, Float]:
    """`kappa`, `auroc` (referable) and `macro_auroc` of each replicate; of the photographs themselves without."""
    weights = None if resamples is None else resamples.weights_RN
    found = kappa_and_auroc(logits_NG, labels_N, resamples)
    return {**found, "macro_auroc": macro_auroc(softmax(logits_NG), labels_N, weights)}


def judged_over_seeds(answers: Mapping[int, Answers], groups: Mapping[str, str] | None, seed: int) -> dict[str, Any]:
    """Figures over several trainings of the same photographs: their mean, each one, and an interval for one training more.

    A replicate resamples photographs, likely ones of an eye together, and draws one of the trainings: its spread is that of
    photographs and of training.

    Args:
        answers: by the training's seed.
        groups: of the photographs by id; None resamples each by itself.
        seed: of the bootstrap.
    """
    first = next(iter(answers.values()))
    owners = [groups[name] if groups is not None else name for name in first.ids]
    resamples = resample(owners, count=BOOTSTRAP, seed=seed)
    drawn_R = np.random.default_rng(seed).integers(len(answers), size=BOOTSTRAP)
    found: dict[str, Any] = {"photographs": len(first.ids), "groups": resamples.patients, "seeds": list(answers)}
    for kind in ("plain", "camera"):
        points, replicates = [], []
        for each in answers.values():
            place = {name: row for row, name in enumerate(each.ids)}
            rows = np.asarray([place[name] for name in first.ids])
            logits, labels = getattr(each, f"{kind}_NG")[rows], each.labels_N[rows]
            points.append({name: float(value.item()) for name, value in replicates_of(logits, labels).items()})
            replicates.append(replicates_of(logits, labels, resamples))
        found[kind] = {
            name: {
                "value": float(np.mean([point[name] for point in points])),
                "by_seed": [point[name] for point in points],
                "interval": np.nanquantile(
                    np.stack([each[name] for each in replicates])[drawn_R, np.arange(BOOTSTRAP)], (0.025, 0.975)
                ).tolist(),
            }
            for name in points[0]
        }
    return found


def factor_effect(trials: Mapping[tuple[int, ...], Answers], factor: int, seed: int) -> dict[str, Any]:
    """What the second level of a factor gained over the first: kappa and AUROC, of plain photographs and of cameras.

    Args:
        trials: answers to the same photographs by the levels of each factor; a factor's gain is the mean over the trainings
            at its second level less that at its first.
        factor: its place in the levels.
        seed: of the bootstrap.
    """
    gains: dict[str, Any] = {}
    for kind in ("plain_NG", "camera_NG"):
        kappas, aurocs = np.zeros(1 + BOOTSTRAP), np.zeros(1 + BOOTSTRAP)
        for levels, answers in trials.items():
            share = (1 if levels[factor] else -1) / sum(other[factor] == levels[factor] for other in trials)
            logits, labels = getattr(answers, kind), answers.labels_N
            resamples = resample([str(n) for n in range(len(labels))], count=BOOTSTRAP, seed=seed)
            point, replicates = kappa_and_auroc(logits, labels), kappa_and_auroc(logits, labels, resamples)
            kappas += share * np.append(point["kappa"], replicates["kappa"])
            aurocs += share * np.append(point["auroc"], replicates["auroc"])
        for name, values in (("kappa", kappas), ("auroc", aurocs)):
            low, high = np.quantile(values[1:], (0.025, 0.975))
            gains[f"{kind.removesuffix('_NG')}_{name}"] = {"value": float(values[0]), "interval": [float(low), float(high)]}
    return gains
