"""Nested cross-validation on real photographs: what is chosen inside each outer fold, what it was worth, what comes out.

    python benchmarks/idrid_nested.py --data idrid:PATH --out runs/nested --json benchmarks/results/idrid_nested.json

Five outer folds, stratified by ICDR grade. For outer fold K, resolution, augmentation and class handling are compared by
four short trainings on three of the other folds, judged on the fourth; the better level of each is then trained on all
four, and judged once on fold K. Inner photographs are judged as they are and as simulated other cameras (`cameras.py`).
Every photograph is held out once on each level. What exists in OUT is not trained again, an outer training that was cut off
goes on, two calls with `--only` share the work, and figures cover the outer folds that are finished. Each outer run
(`OUT/fold-K`) is one that `foveal export` opens.
`--as-is` trains the outer folds alone, by the recipe as it is, for `idrid_served.py` to export.
`--seeds 0,1,2` does all of it once a seed (folds, weights, order and augmentation), each in `OUT/seed-S`, and reports
intervals that hold the variance of training as well as that of photographs; `--same-folds` keeps the folds of `--seed`, so
that the runs of a fold are teachers that never saw its photographs. `--grouped` keeps photographs that are likely of
one eye (`same_eye.py`) on one side of every fold and resamples them together. The shipped recipe, honestly held out:

    python benchmarks/idrid_nested.py --data idrid:PATH --out honest --as-is --seeds 0,1,2 --same-folds --grouped --json FILE
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from cameras import CAMERAS, through_its_camera
from foveal_runtime.photo.imaging import photograph, square
from foveal_runtime.study.labels import ICDR
from foveal_train.data import Sample, Split
from foveal_train.data.split import PARTS
from foveal_train.model.weights import BuiltModel, build_model
from foveal_train.runs.description import describe
from foveal_train.runs.predict import predict
from foveal_train.runs.prepared import Prepared, prepare, trained_heads
from foveal_train.runs.run import RUN_FILE, SPLIT_FILE, write_json, write_run
from foveal_train.runs.samples import load_samples
from foveal_train.training import checkpoint
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.progress import ProgressReporter
from foveal_train.training.recipe import Recipe
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer
from held_out import Answers, factor_effect, judged, judged_over_seeds, quality
from nested_tables import markdown, seeds_markdown
from same_eye import likely_groups

app = cyclopts.App(help=__doc__)
FOLDS = 5
INNER_EPOCHS = 6
VALIDATE_EVERY = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """One choice between two levels, each some overrides of the recipe."""

    name: str
    levels: tuple[str, str]
    overrides: tuple[tuple[str, ...], tuple[str, ...]]


_LIGHT = {"zoom": 0.1, "brightness": 0.2, "contrast": 0.2, "colour": 0.08}
_CAMERAS = {
    "zoom": 0.2,
    "brightness": 0.25,
    "contrast": 0.25,
    "colour": 0.15,
    "shift": 0.05,
    "gamma": 0.4,
    "illumination": 0.4,
    "downscale": 3.0,
    "noise": 0.03,
}
_OFF = {"shift": 0, "gamma": 0, "illumination": 0, "downscale": 1, "noise": 0}


def _amounts(amounts: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"augmentation.{name}={amount}" for name, amount in (_OFF | amounts).items())


FACTORS = (
    Factor(
        name="resolution",
        levels=("224 px", "288 px"),
        overrides=(("image_spec.side_px=224",), ("image_spec.side_px=288",)),
    ),
    Factor(
        name="augmentation",
        levels=("light", "other cameras"),
        overrides=(_amounts(_LIGHT), _amounts(_CAMERAS)),
    ),
    Factor(
        name="class weights",
        levels=("none", "square root"),
        overrides=(("losses.class_balance=0",), ("losses.class_balance=0.5",)),
    ),
)
TRIALS: tuple[tuple[int, ...], ...] = ((0, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 1))
"""Levels of each factor in the four inner trainings: half of a 2 x 2 x 2 design, in which all four speak for every factor.
A factor's effect is then not told apart from the interaction of the two others."""


def recipe_of(levels: Sequence[int], *, name: str, overrides: Sequence[str], epochs: int | None = None) -> Recipe:
    """The recipe with some level of every factor."""
    chosen = [text for factor, level in zip(FACTORS, levels, strict=True) for text in factor.overrides[level]]
    shortened = [] if epochs is None else [f"optimiser.epochs={epochs}"]
    return load_recipe(name, (*overrides, *chosen, *shortened))


def folds_of(samples: Sequence[Sample], seed: int, groups: Mapping[str, str] | None = None) -> list[tuple[Sample, ...]]:
    """Folds stratified by grade; every graded photograph is in one, and a group of `groups` (by id) is in one whole."""
    graded = [sample for sample in samples if sample.labels.icdr is not None]
    grades = [sample.labels.icdr for sample in graded]
    if groups is None:
        splits = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(graded, grades)
    else:
        together = [groups[sample.id] for sample in graded]
        splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(graded, grades, together)
    return [tuple(graded[i] for i in held) for _, held in splits]


def _trained(split: Split, recipe: Recipe, what: str, out: Path | None = None) -> tuple[BuiltModel, Prepared, Any]:
    """A training; with `out` it leaves a checkpoint there after every epoch, and goes on from one."""
    built = build_model(recipe.model, seed=recipe.seed)
    with ProgressReporter(recipe.optimiser.epochs) as reporter:
        reporter.stage(f"{what}: decoding")
        data = prepare(split, built, recipe, cache=None, reporter=reporter)
        reporter.stage(f"{what}: training")
        heads = trained_heads(data.train)
        fitted = Trainer(built.model, recipe, Studies(train=data.train), heads, out=out).fit(
            resume=out is not None, report=reporter.step, epoch_report=reporter.epoch
        )
    return built, data, fitted


def _answers(built: BuiltModel, held_out: StudyArrays, samples: Sequence[Sample]) -> Answers:
    """Of photographs as they are and each through its simulated camera."""
    spec = built.config.image_spec
    seen = []
    for number, sample in enumerate(samples):
        data = sample.image_bytes()
        assert data is not None
        seen.append(square(through_its_camera(photograph(data, spec), number), spec))
    return Answers(
        ids=held_out.ids,
        labels_N=held_out.labels[ICDR],
        plain_NG=predict(built.model, held_out).logits[ICDR].astype(np.float64),
        camera_NG=predict(built.model, replace(held_out, squares_NSSC=np.stack(seen))).logits[ICDR].astype(np.float64),
    )


def trial_path(out: Path, fold: int, levels: Sequence[int]) -> Path:
    """Where an inner training leaves its answers."""
    return out / "inner" / f"fold-{fold}-{''.join(map(str, levels))}.npz"


def run_trial(fold: int, folds: list[tuple[Sample, ...]], levels: Sequence[int], recipe: Recipe, out: Path) -> None:
    """One inner training of outer fold `fold`: the next fold is held out, the three others are trained on."""
    held = (fold + 1) % FOLDS
    train = tuple(s for k, part in enumerate(folds) if k not in (fold, held) for s in part)
    split = Split(train=train, validation=(), test=folds[held])
    built, data, _ = _trained(split, recipe, f"fold {fold}, inner {levels}")
    _answers(built, data.test, folds[held]).save(trial_path(out, fold, levels))


def choose(out: Path, fold: int) -> tuple[int, ...]:
    """The level of each factor whose two inner trainings have the higher kappa + AUROC, both kinds of photographs together.

    Photographs of other cameras count as much as the others since a clinic's camera is seldom that of the data set.
    """
    scores: dict[tuple[int, ...], float] = {}
    for levels in TRIALS:
        answers = Answers.load(trial_path(out, fold, levels))
        scores[levels] = sum(sum(quality(logits, answers.labels_N)) for logits in (answers.plain_NG, answers.camera_NG))
    return tuple(
        int(sum(score * (1 if levels[i] else -1) for levels, score in scores.items()) > 0) for i in range(len(FACTORS))
    )


def run_outer(
    fold: int, folds: list[tuple[Sample, ...]], recipe: Recipe, specs: list[str], out: Path, *, validate: bool = False
) -> None:
    """Train on everything outside fold `fold`, less a validation share if asked, and judge on it: it is the test split."""
    folder = out / f"fold-{fold}"
    others = [sample for k, part in enumerate(folds) if k != fold for sample in part]
    validation = others[::VALIDATE_EVERY] if validate else []
    train = [sample for i, sample in enumerate(others) if not validate or i % VALIDATE_EVERY]
    split = Split(train=tuple(train), validation=tuple(validation), test=folds[fold])
    folder.mkdir(parents=True, exist_ok=True)
    built, data, fitted = _trained(split, recipe, f"fold {fold}, outer", folder)
    info = describe(built, recipe, specs, split, data, trained_heads(data.train), fitted)
    _answers(built, data.test, folds[fold]).save(folder / "held_out.npz")
    write_json(folder / SPLIT_FILE, {part: list(getattr(data, part).ids) for part in PARTS})
    write_run(folder, info, built.model, built.tokenizer_json)
    checkpoint.discard(folder)


def by_camera(parts: Sequence[Answers]) -> list[dict[str, Any]]:
    """Kappa and AUROC of the photographs of each simulated camera, through it and as they are."""
    whole = Answers.together(parts)
    cameras_N = np.concatenate([np.arange(len(part.ids)) % len(CAMERAS) for part in parts])
    rows = []
    for number, camera in enumerate(CAMERAS):
        here = cameras_N == number
        kappa, area = quality(whole.camera_NG[here], whole.labels_N[here])
        plain_kappa, plain_area = quality(whole.plain_NG[here], whole.labels_N[here])
        row = {"camera": camera.name, "photographs": int(here.sum()), "kappa": kappa, "auroc": area}
        rows.append({**row, "plain_kappa": plain_kappa, "plain_auroc": plain_area})
    return rows


def finished_folds(out: Path) -> list[int]:
    """Outer folds whose training is finished."""
    return [k for k in range(FOLDS) if (out / f"fold-{k}" / RUN_FILE).exists()]


def held_out_answers(out: Path, folds: Sequence[int] | None = None) -> list[Answers]:
    """Answers of some outer folds; None takes those that are finished."""
    return [Answers.load(out / f"fold-{k}" / "held_out.npz") for k in (finished_folds(out) if folds is None else folds)]


def known_groups(samples: Sequence[Sample], out: Path) -> dict[str, str]:
    """Group of every photograph by id, found once and kept in `out`/groups.json."""
    path = out / "groups.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, likely_groups([sample for sample in samples if sample.image_path is not None]))
    groups: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["groups"]
    return groups


def figures(out: Path, recipe: str, overrides: Sequence[str], seed: int) -> dict[str, Any]:
    """Everything that the folds at hand can say."""
    inner = [k for k in range(FOLDS) if all(trial_path(out, k, levels).exists() for levels in TRIALS)]
    outer = finished_folds(out)
    found: dict[str, Any] = {
        "protocol": f"{FOLDS} outer folds stratified by ICDR grade, seed {seed}; inner: 3 folds train, 1 judges, "
        f"{len(TRIALS)} trainings of {INNER_EPOCHS} epochs; outer fold judged once",
        "recipe": recipe,
        "overrides": list(overrides),
        "inner_folds": inner,
        "outer_folds": outer,
        "chosen": {
            f"fold-{k}": {f.name: f.levels[level] for f, level in zip(FACTORS, choose(out, k), strict=True)} for k in inner
        },
    }
    if inner:
        trials = {levels: Answers.together([Answers.load(trial_path(out, k, levels)) for k in inner]) for levels in TRIALS}
        found["worth"] = [
            {"factor": factor.name, "from": factor.levels[0], "to": factor.levels[1], **factor_effect(trials, i, seed)}
            for i, factor in enumerate(FACTORS)
        ]
        found["trials"] = [
            {
                "levels": {f.name: f.levels[level] for f, level in zip(FACTORS, levels, strict=True)},
                **{
                    kind: dict(zip(("kappa", "auroc"), quality(logits, a.labels_N), strict=True))
                    for kind, logits in (("plain", a.plain_NG), ("camera", a.camera_NG))
                },
            }
            for levels, a in trials.items()
        ]
    if outer:
        parts = held_out_answers(out)
        whole = Answers.together(parts)
        found["photographs"] = len(whole.ids)
        found["plain"] = judged(whole.plain_NG, whole.labels_N, seed)
        found["camera"] = judged(whole.camera_NG, whole.labels_N, seed)
        found["by_camera"] = by_camera(parts)
        found["by_fold"] = [
            {
                "fold": k,
                "photographs": len(part.ids),
                **dict(zip(("kappa", "auroc"), quality(part.plain_NG, part.labels_N), strict=True)),
            }
            for k, part in zip(outer, parts, strict=True)
        ]
    return found


@app.default
def main(
    *,
    data: str,
    out: Path,
    recipe: str = "edge",
    only: list[int] | None = None,
    judge: bool = False,
    as_is: bool = False,
    seed: int = 0,
    seeds: str = "",
    same_folds: bool = False,
    grouped: bool = False,
    threads: int = 1,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Run what is missing of the nested study, then judge what is there.

    Args:
        data: data set as kind:path.
        out: folder for the inner answers and the outer runs.
        recipe: a recipe's name or path; the three factors override it.
        only: run these outer folds alone.
        judge: train nothing: judge what is there.
        as_is: choose nothing: train the outer folds alone, by the recipe, with a validation share of their own.
        seed: of the folds and of the bootstrap.
        seeds: several, as 0,1,2: everything once for each, the recipe's seed included.
        same_folds: the folds of `seed` for all of `seeds`.
        grouped: keep photographs that are likely of one eye together.
        threads: torch's threads; two processes of one thread do more than one of two.
        set_: override a key of the recipe as key=value; may be repeated.
        json_: write the figures to this file.
    """
    import torch

    torch.set_num_threads(threads)
    overrides, samples = tuple(set_ or ()), load_samples([data])
    groups = known_groups(samples, out) if grouped else None
    asked = [] if judge else list(range(FOLDS)) if only is None else only
    chosen = [int(part) for part in seeds.split(",")] if seeds else [seed]
    places = {each: out / f"seed-{each}" if seeds else out for each in chosen}
    for each, place in places.items():
        own = (*overrides, f"seed={each}") if seeds else overrides
        run_folds(folds_of(samples, seed if same_folds else each, groups), asked, recipe, own, data, place, as_is=as_is)
    if not seeds:
        found = figures(out, recipe, overrides, seed)
        text = markdown(found)
    else:
        # Seeds are compared on the same photographs: on the folds that all of them have finished.
        common = sorted(set(range(FOLDS)).intersection(*map(finished_folds, places.values())))
        if not common:
            print("no outer fold is finished for every seed yet")
            return
        answers = {each: Answers.together(held_out_answers(place, common)) for each, place in places.items()}
        found = {
            "folds": common,
            "protocol": f"{FOLDS} folds stratified by ICDR grade{', grouped by likely eye' if grouped else ''}"
            f"{f', the same {FOLDS} for all seeds' if same_folds else ''}, seeds {seeds}",
            "recipe": recipe,
            "overrides": list(overrides),
            **judged_over_seeds(answers, groups, seed),
        }
        text = seeds_markdown(found)
    if json_ is not None:
        write_json(json_, found)
    print(text)


def run_folds(
    folds: list[tuple[Sample, ...]],
    asked: Sequence[int],
    recipe: str,
    overrides: tuple[str, ...],
    data: str,
    out: Path,
    *,
    as_is: bool,
) -> None:
    """Train what is missing of the outer folds, and of what chooses their levels unless they are trained as the recipe is."""
    for fold in asked if not as_is else ():
        for levels in TRIALS:
            if not trial_path(out, fold, levels).exists():
                shortened = recipe_of(levels, name=recipe, overrides=overrides, epochs=INNER_EPOCHS)
                run_trial(fold, folds, levels, shortened, out)
    for fold in asked:
        if (out / f"fold-{fold}" / RUN_FILE).exists():
            continue
        if as_is:
            run_outer(fold, folds, load_recipe(recipe, overrides), [data], out, validate=True)
        else:
            run_outer(fold, folds, recipe_of(choose(out, fold), name=recipe, overrides=overrides), [data], out)


if __name__ == "__main__":
    app()
