"""Out-of-fold quality on real photographs: K runs, each judged on the photographs it never saw.

    python benchmarks/idrid_crossval.py --data idrid:PATH --out runs/crossval --json benchmarks/results/idrid_crossval.json

Each fold is a finished run (`OUT/fold-K`), so `foveal export OUT/fold-K` and the INT8 comparison can follow; a second call
goes on with the folds that are missing. Training sees everything outside the fold and nothing is chosen by looking at it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter
from sklearn.model_selection import StratifiedKFold

from foveal_runtime.labels import REFERABLE_GRADE, Head, referable_probability, softmax
from foveal_train.data import Sample, Split
from foveal_train.evaluation.grading import grade_figures
from foveal_train.evaluation.intervals import resample
from foveal_train.evaluation.referable import referable_figures
from foveal_train.losses import MISSING
from foveal_train.pipeline import Prepared, describe, load_samples, prepare, trained_heads
from foveal_train.predict import predict
from foveal_train.progress import ProgressReporter
from foveal_train.recipe import Recipe, load_recipe
from foveal_train.run import RUN_FILE, SPLIT_FILE, Run, write_json, write_run
from foveal_train.trainer import fit
from foveal_train.weights import build_model

app = cyclopts.App(help=__doc__)
BOOTSTRAP = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One fold's photographs."""

    number: int
    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


def folds(samples: list[Sample], count: int, seed: int) -> list[Fold]:
    """Stratified by ICDR grade; every photograph is held out once."""
    graded = [sample for sample in samples if sample.labels.icdr is not None]
    grades = [sample.labels.icdr for sample in graded]
    splits = StratifiedKFold(count, shuffle=True, random_state=seed).split(graded, grades)
    return [
        Fold(number=k, train=tuple(graded[i] for i in rest), held_out=tuple(graded[i] for i in held))
        for k, (rest, held) in enumerate(splits)
    ]


def train_fold(fold: Fold, recipe: Recipe, specs: list[str], out: Path) -> None:
    """Train one fold and write its run; its held-out photographs are the run's test split."""
    split = Split(train=fold.train, validation=(), test=fold.held_out)
    built = build_model(recipe.model, seed=recipe.seed)
    with ProgressReporter(recipe.optimiser.epochs) as reporter:
        reporter.stage(f"fold {fold.number}: decoding")
        data: Prepared = prepare(split, built, recipe, cache=None, reporter=reporter)
        heads = trained_heads(data.train)
        reporter.stage(f"fold {fold.number}: training")
        fitted = fit(built.model, recipe, data.train, None, heads, report=reporter.step)
    info = describe(built, recipe, specs, data, heads, fitted)
    logits = predict(built.model, data.test).logits[Head.ICDR]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "held_out.npz", ids=np.asarray(data.test.ids), logits=logits, labels=data.test.labels[Head.ICDR])
    write_json(out / SPLIT_FILE, {"train": [s.id for s in fold.train], "validation": [], "test": [s.id for s in fold.held_out]})
    write_run(out, info, built.model, built.tokenizer_json)


def judge(out: Path, count: int, seed: int) -> dict[str, Any]:
    """Figures over the out-of-fold answers of all folds together."""
    parts = [np.load(out / f"fold-{k}" / "held_out.npz") for k in range(count)]
    ids, logits, labels = (np.concatenate([part[name] for part in parts]) for name in ("ids", "logits", "labels"))
    assert len(set(ids.tolist())) == len(ids), "a photograph was held out twice"
    known = labels != MISSING
    probabilities = softmax(logits[known])
    resamples = resample([str(i) for i in ids[known]], count=BOOTSTRAP, seed=seed)
    positive = labels[known] >= REFERABLE_GRADE
    scores = referable_probability(probabilities)
    return {
        "photographs": int(known.sum()),
        "icdr": grade_figures(labels[known], probabilities.argmax(-1), resamples),
        "referable": referable_figures(scores, positive, [()] * int(known.sum()), resamples),
        "by_fold": [
            {
                "fold": k,
                "photographs": len(part["ids"]),
                "accuracy": float((part["logits"].argmax(-1) == part["labels"]).mean()),
            }
            for k, part in enumerate(parts)
        ],
    }


@app.default
def main(
    *,
    data: str,
    out: Path,
    recipe: str = "edge",
    count: Annotated[int, Parameter(name="--folds")] = 5,
    seed: int = 0,
    only: list[int] | None = None,
    threads: int = 0,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Cross-validate a recipe.

    Args:
        data: data set as kind:path.
        out: folder for the folds' runs.
        recipe: a recipe's name or path.
        count: folds.
        seed: of the folds.
        only: train these folds alone; figures follow when all are there.
        threads: torch's threads; 0 leaves its own choice.
        set_: override a key of the recipe as key=value; may be repeated.
        json_: write the figures to this file.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    chosen = load_recipe(recipe, tuple(set_ or ()))
    for fold in folds(load_samples([data]), count, seed):
        if (only is None or fold.number in only) and not (out / f"fold-{fold.number}" / RUN_FILE).exists():
            train_fold(fold, chosen, [data], out / f"fold-{fold.number}")
    missing = [k for k in range(count) if not (out / f"fold-{k}" / RUN_FILE).exists()]
    if missing:
        print(f"folds {missing} are still missing; call again without --only")
        return
    Run.open(out / "fold-0")  # a run that export can open, not only one that was written
    figures = {
        "protocol": f"{count}-fold out-of-fold, stratified by ICDR grade, seed {seed}; nothing chosen on held-out photographs",
        "recipe": recipe,
        "overrides": list(set_ or ()),
        "machine": f"{os.cpu_count()} cores",
        **judge(out, count, seed),
    }
    if json_ is not None:
        write_json(json_, figures)
    icdr, auroc = figures["icdr"], figures["referable"]["auroc"]
    for name, figure in (
        ("quadratic-weighted kappa", icdr["kappa"]),
        ("accuracy", icdr["accuracy"]),
        ("referable AUROC", auroc),
    ):
        low, high = figure["interval"]
        print(f"{name:<28}{figure['value']:.3f}  [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    app()
