"""Fit the gradability check of the runtime, write its file, and report how it does on what was left out of the fit.

    python benchmarks/fit_quality.py PATH_OF_IDRID --json benchmarks/results/fit_quality.json --write

Pictures and their labels: quality_samples.py. A check is a few networks of one hidden layer over the numbers of
`foveal_runtime.photo.measures`; its probabilities are calibrated by one temperature, fitted on photographs out of fold. Two
reports: in five folds over the photographs (pictures of one photograph stay together), and besides with one kind of each family
left out at a time, judged on photographs that the fit has not seen either. The threshold is the highest that
refuses no more than `--refuse` of the photographs, as they are and recast, out of fold; or `--min-gradable`, chosen from the
report's table of thresholds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPClassifier

from foveal_runtime.photo import quality
from foveal_runtime.photo.imaging import ImageSpec, photograph
from foveal_runtime.photo.measures import NAMES, measure
from foveal_runtime.photo.quality import VERDICTS, Check, Quality
from outer_eyes import NOT_FUNDUS
from quality_report import Floats, Table, report, show
from quality_samples import Family, Sample, photographs, samples
from recast import RECAST
from spoilt import SPOILT

SIDES_PX = (224, 288, 64)
"""Sides of the bundles' squares in turn: they decide how far a photograph is halved before it is measured."""
FOLDS = 5
OTHER = VERDICTS.index(Quality.NOT_FUNDUS)
KINDS = {Family.RECAST: list(RECAST), Family.SPOILT: list(SPOILT), Family.NOT_FUNDUS: list(NOT_FUNDUS)}
_REACH = quality._REACH


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How a check is fitted."""

    networks: int = 3
    hidden: int = 40
    decay: float = 3e-3
    rounds: int = 60
    unfamiliar: float = 0.003
    """Of the gradable photographs, those that are unlike the others."""
    oddities: int = 2000
    """Rows that no photograph has, against kinds of which nobody thought."""
    oddity_weight: float = 0.05
    """Of the weight of all others."""


def measured(made: Iterable[Sample]) -> Table:
    """The numbers as the runtime would get them; the pictures themselves are let go."""
    features, kept = [], []
    for i, sample in enumerate(made):
        features.append(measure(photograph(sample.jpeg, ImageSpec(side_px=SIDES_PX[i % len(SIDES_PX)]))))
        kept.append(replace(sample, jpeg=b""))
    return Table(
        features_NF=np.array(features, np.float32),
        verdict_N=np.array([VERDICTS.index(s.quality) for s in kept]),
        base_N=np.array([s.base for s in kept]),
        real_N=np.array([s.real for s in kept]),
        family_N=np.array([s.family for s in kept], object),
        kinds_N=[s.kinds for s in kept],
    )


def weights_of(table: Table, rows: npt.NDArray[np.bool_]) -> Floats:
    """Half of the weight to what is gradable, a sixth of that to photographs as they are; the rest by verdict, evenly."""
    weights = np.zeros(int(rows.sum()))
    verdict, family = table.verdict_N[rows], table.family_N[rows]
    for part, share in (
        (family == Family.PHOTOGRAPH, 0.12),
        (family == Family.RECAST, 0.40),
        *(((verdict == v), 0.48 * s) for v, s in ((1, 0.17), (2, 0.30), (3, 0.17), (4, 0.36))),
    ):
        weights[part] = share / max(int(part.sum()), 1)
    return weights * len(weights)


def fit(table: Table, rows: npt.NDArray[np.bool_], shape: Shape, *, seed: int) -> Check:
    """A check without calibration and threshold, fitted on some of the samples."""
    features = table.features_NF[rows].astype(np.float64)
    good = features[table.verdict_N[rows] == 0]
    mean, scale = good.mean(axis=0), np.maximum(good.std(axis=0), 1e-2)
    whiten, usual = _familiar(((good - mean) / scale).clip(-quality._FAR, quality._FAR), shape)
    standard = ((features - mean) / scale).clip(-_REACH, _REACH)
    weights, verdict = weights_of(table, rows), table.verdict_N[rows]
    odd = _oddities(standard, verdict, shape.oddities, np.random.default_rng(seed))
    standard, verdict = np.concatenate((standard, odd)), np.concatenate((verdict, np.full(len(odd), OTHER)))
    weights = np.concatenate((weights, np.full(len(odd), shape.oddity_weight * weights.sum() / max(len(odd), 1))))
    layers: list[list[Any]] = [[], [], [], []]
    for i in range(shape.networks):
        network = MLPClassifier(
            (shape.hidden,), activation="tanh", alpha=shape.decay, learning_rate_init=3e-3, max_iter=shape.rounds,
            batch_size=256, tol=0.0, n_iter_no_change=shape.rounds, random_state=seed * 100 + i,
        )  # fmt: skip
        warnings.simplefilter("ignore")  # it is stopped early, and says so each time
        network.fit(standard, verdict, sample_weight=weights)
        assert list(network.classes_) == list(range(len(VERDICTS)))
        for layer, value in zip(
            layers, (network.coefs_[0], network.intercepts_[0], *(network.coefs_[1], network.intercepts_[1])), strict=True
        ):
            layer.append(value)
    arrays = [np.array(layer, np.float32) for layer in layers]
    return Check(
        mean_F=mean.astype(np.float32),
        scale_F=scale.astype(np.float32),
        hidden_MFH=arrays[0],
        hidden_bias_MH=arrays[1],
        verdict_MHV=arrays[2],
        verdict_bias_MV=arrays[3],
        whiten_FF=whiten.astype(np.float32),
        usual=usual,
        min_gradable=0.5,
        identity="",
    )  # fmt: skip


def _familiar(good: Floats, shape: Shape) -> tuple[Floats, float]:
    """What whitens gradable photographs' numbers, and how far from their mean nearly all of them lie."""
    covariance = np.cov(good.T) + 0.05 * np.eye(good.shape[1])  # numbers that hardly vary must not decide
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    return whiten, round(float(np.quantile(np.linalg.norm(good @ whiten, axis=1), 1 - shape.unfamiliar)), 3)


def _oddities(standard: Floats, verdict: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Floats:
    """Photographs' numbers, some of which are another picture's: each is seen somewhere, together they are nowhere."""
    good = np.flatnonzero(verdict == 0)
    odd = standard[rng.choice(good, count)]
    taken = standard[rng.integers(len(standard), size=odd.shape), np.arange(odd.shape[1])]
    share = rng.uniform(0.15, 0.6, (count, 1))
    mixed: Floats = np.where(rng.random(odd.shape) < share, taken, odd)
    return mixed


def cooled(check: Check, temperature: float) -> Check:
    """The check with its logits divided."""
    by = np.float32(1 / temperature)
    return replace(check, verdict_MHV=check.verdict_MHV * by, verdict_bias_MV=check.verdict_bias_MV * by)


def judged(check: Check, table: Table, rows: npt.NDArray[np.bool_]) -> Floats:
    """Probabilities of the verdicts, `p_NV`; the rule for black pictures included."""
    p_NV = np.array([check.probabilities(f) for f in table.features_NF[rows]])
    features_NF = table.features_NF[rows]
    dark_N, pale_N = features_NF[:, quality._BRIGHT_P95] < quality._DARKEST, features_NF[:, quality._GROUND_LEVEL] == 1
    p_NV[dark_N & ~pale_N] = (0, 1, 0, 0, 0)
    p_NV[dark_N & pale_N] = (0, 0, 0, 0, 1)
    return p_NV


def fold_of(table: Table) -> npt.NDArray[np.int64]:
    """Fold of each sample; bases in a drawn order, so that neighbours (two eyes of one person) spread as chance has it."""
    order = np.random.default_rng(0).permutation(10_000)
    return np.asarray(order[table.base_N % 10_000] % FOLDS)


def out_of_fold(table: Table, shape: Shape) -> tuple[Floats, list[Check]]:
    """Probabilities of every sample by a check that has seen no picture of its photograph."""
    fold_N = fold_of(table)
    p_NV = np.zeros((len(fold_N), len(VERDICTS)))
    checks = []
    for fold in range(FOLDS):
        checks.append(fit(table, fold_N != fold, shape, seed=1 + fold))
        p_NV[fold_N == fold] = judged(checks[-1], table, fold_N == fold)
    return p_NV, checks


def left_out_kinds(table: Table, shape: Shape, temperature: float, *, folds: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Probabilities of every sample of one kind, by a check that has seen neither its kind nor its photograph."""
    fold_N = fold_of(table)
    turns = [
        [(family, kinds[i]) for family, kinds in KINDS.items() if i < len(kinds)] for i in range(max(map(len, KINDS.values())))
    ]
    single = np.array([len(own) == 1 for own in table.kinds_N])
    p_NV, done = np.zeros((len(fold_N), len(VERDICTS))), np.zeros(len(fold_N), bool)
    for turn, kinds in enumerate(turns):
        left = table.has(set(kinds))
        for fold in ((turn + i) % FOLDS for i in range(folds)):
            check = cooled(fit(table, (fold_N != fold) & ~left, shape, seed=50 + fold), temperature)
            rows = (fold_N == fold) & left & single
            p_NV[rows], done[rows] = judged(check, table, rows), True
    return p_NV, done


def fit_temperature(checks: list[Check], table: Table) -> float:
    """What the logits are divided by so that probabilities out of fold are right: the least cross-entropy."""
    fold_N = fold_of(table)

    def cost(temperature: float) -> float:
        total = 0.0
        for fold, check in enumerate(checks):
            rows = fold_N == fold
            p_N = judged(cooled(check, temperature), table, rows)[:, 0].clip(1e-6, 1 - 1e-6)
            good = table.verdict_N[rows] == 0
            total -= float((weights_of(table, rows) * np.where(good, np.log(p_N), np.log(1 - p_N))).sum())
        return total

    return min((float(t) for t in np.geomspace(0.6, 4, 14)), key=cost)


def threshold_for(p_N: Floats, refuse: float) -> float:
    """The highest that refuses no more than that share, rounded down."""
    return float(np.floor(np.sort(p_N)[int(refuse * len(p_N))] * 100) / 100)


def document_of(check: Check) -> dict[str, Any]:
    """The check's file, without the threshold."""
    arrays = {name: getattr(check, name) for name in quality.ARRAYS}
    return {
        "format_version": quality._FORMAT,
        "features": list(NAMES),
        "verdicts": [v.name for v in VERDICTS],
        "usual": check.usual,
        "min_gradable": check.min_gradable,
        **{
            name: json.loads(json.dumps(np.vectorize(lambda v: float(f"{v:.4g}"))(array).tolist()))
            for name, array in arrays.items()
        },
    }


def study(table: Table, shape: Shape, *, refuse: float, least: float | None, folds: int) -> tuple[Check, dict[str, Any]]:
    """The check that is fitted on everything, its threshold set, and the report on what was left out."""
    fold_N, everything = fold_of(table), np.ones(len(table.base_N), bool)
    _, checks = out_of_fold(table, shape)
    temperature = fit_temperature(checks, table)
    p_NV = np.zeros((len(fold_N), len(VERDICTS)))
    for fold, check in enumerate(checks):
        p_NV[fold_N == fold] = judged(cooled(check, temperature), table, fold_N == fold)
    threshold = threshold_for(p_NV[table.verdict_N == 0, 0], refuse) if least is None else least
    document: dict[str, Any] = {
        "pictures": len(fold_N),
        "temperature": round(temperature, 3),
        "min_gradable": threshold,
        "five folds": report(table, p_NV, everything, threshold),
    }
    show(f"temperature {temperature:.2f}, threshold {threshold}; photographs out of fold", document["five folds"])
    kind_NV, done_N = left_out_kinds(table, shape, temperature, folds=folds)
    document["kinds left out"] = report(table, kind_NV, done_N, threshold)
    show("kind and photograph out of the fit", document["kinds left out"])
    document["refused by threshold"] = {
        str(at): {
            name: {f.value: round(float((p[rows & (table.family_N == f), 0] < at).mean()), 4) for f in families}
            for name, p, rows, families in (
                ("five folds", p_NV, everything, tuple(Family)),
                ("kinds left out", kind_NV, done_N, tuple(KINDS)),
            )
        }
        for at in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
    }
    for at, shares in document["refused by threshold"].items():
        print(f"  {at}: {shares}")
    final = replace(cooled(fit(table, everything, shape, seed=9), temperature), min_gradable=threshold)
    return final, document


def main() -> int:
    """Make, measure, fit, report, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--drawn", type=int, default=140, help="fundi to draw")
    parser.add_argument("--recast", type=int, default=6, help="pictures of each photograph that are recast")
    parser.add_argument("--spoilt", type=int, default=6, help="pictures of each photograph that are spoilt")
    parser.add_argument("--others", type=int, default=40, help="pictures of each kind that is no fundus")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--refuse", type=float, default=0.0125, help="of the photographs, as they are and recast")
    parser.add_argument("--min-gradable", type=float, help="the threshold itself, instead of what --refuse comes to")
    parser.add_argument("--folds-left-out", type=int, default=1, help="folds in which each kind is left out, 1 to 5")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="write the runtime's file")
    args = parser.parse_args()
    started = time.monotonic()
    made = samples(
        photographs(args.folder),
        drawn=args.drawn,
        recast=args.recast,
        spoilt=args.spoilt,
        others=args.others,
        seed=args.seed,
    )
    table = measured(made)
    print(f"{len(table.base_N)} pictures measured in {time.monotonic() - started:.0f} s", flush=True)
    check, document = study(table, Shape(), refuse=args.refuse, least=args.min_gradable, folds=args.folds_left_out)
    if args.write:
        path = Path(quality.__file__).with_name("quality.json")
        path.write_text(json.dumps(document_of(check), separators=(",", ":")) + "\n")
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    if args.json:
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    print(f"{time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
