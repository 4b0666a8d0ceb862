"""One row of a sweep made: a run trained, resumed or reused, its figures taken and its cost timed. Keeps no row.

Nothing here decides what may be reused: `stored` has compared recipes and data before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal_runtime.study.notes import NoteTokeniser
from foveal_train import pipeline
from foveal_train.data import Sample
from foveal_train.evaluation import evaluate_arrays
from foveal_train.paper import rows
from foveal_train.paper.baselines import baseline_row, fine_tuned_unseen
from foveal_train.paper.parameters import count
from foveal_train.paper.plan import Plan
from foveal_train.paper.stored import RUN
from foveal_train.runs import samples
from foveal_train.runs.reporter import Reporter
from foveal_train.runs.run import METRICS_FILE, Run
from foveal_train.training.arrays import Skipped
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.recipe import Method, Recipe

CLIP_FILE = "clip.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """What all rows of a sweep are made from."""

    specs: tuple[str, ...]
    studies: tuple[Sample, ...]
    """Of those data sets."""
    unseen: tuple[Sample, ...]
    """Of other data sets; empty without."""
    decoded: DecodedPhotographs
    skip_bad: bool
    reporter: Reporter

    @property
    def skipped(self) -> Skipped | None:
        """Told what is left out of a row; None where nothing may be."""
        return (lambda problem: self.reporter.remark(f"skipped {problem}")) if self.skip_bad else None


def new_row(plan: Plan, material: Material) -> dict[str, Any]:
    """The row of a recipe.

    Raises:
        FovealError: see `foveal_train.pipeline.train` and `baseline_row`.
    """
    recipe = plan.request.recipe
    unseen = material.unseen if plan.measure_unseen else ()
    if recipe.method is Method.MULTIMODAL:
        return _of_a_run(plan, material, unseen)
    return baseline_row(
        recipe,
        samples.split_samples(material.studies, recipe),
        unseen or None,
        weights=plan.folder / CLIP_FILE,
        decoded=material.decoded,
        skipped=material.skipped,
        say=lambda what: material.reporter.stage(f"{recipe.name}: {what}"),
    )


def with_unseen(plan: Plan, material: Material) -> dict[str, Any]:
    """A finished row with figures on the unseen data added or replaced; the recipe is not trained again.

    Raises:
        FovealError: see `new_row`.
    """
    assert plan.stored.row is not None
    recipe, row = plan.request.recipe, plan.stored.row
    if recipe.method is Method.CLIP_FINE_TUNED:
        if not (plan.folder / CLIP_FILE).is_file():
            return new_row(plan, material)  # of an older foveal, which did not keep CLIP's weights
        material.reporter.stage(f"{recipe.name}: measuring the unseen data")
        weights = plan.folder / CLIP_FILE
        found = fine_tuned_unseen(recipe, weights, material.unseen, decoded=material.decoded, skipped=material.skipped)
        return {**row, "unseen": found}
    run = Run.open(plan.folder / RUN)
    material.reporter.stage(f"{recipe.name}: measuring the unseen data")
    elsewhere, notes = _unseen_figures(run, recipe, material.unseen, material)
    return {**row, "unseen": elsewhere, "notes": notes}


def _of_a_run(plan: Plan, material: Material, unseen: Sequence[Sample]) -> dict[str, Any]:
    recipe, folder, stored = plan.request.recipe, plan.folder / RUN, plan.stored
    if stored.has_run:
        run = Run.open(folder)
    else:
        run = pipeline.train(
            recipe,
            material.specs,
            folder,
            resume=stored.has_begun,
            skip_bad=material.skip_bad,
            decoded=material.decoded,
            reporter=material.reporter,
        )
    material.reporter.stage(f"{recipe.name}: measuring")
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    elsewhere, notes = _unseen_figures(run, recipe, unseen, material) if unseen else (None, [])
    return {
        "studies": metrics["studies"],
        "retrieval": rows.retrieval_in(metrics),
        "grading": rows.grading_in(metrics),
        "unseen": elsewhere,
        "cost": _cost(run, recipe, material),
        "notes": notes,
    }


def _unseen_figures(run: Run, recipe: Recipe, unseen: Sequence[Sample], material: Material) -> tuple[dict[str, Any], list[str]]:
    tokenise = NoteTokeniser(run.tokenizer_json, run.info.model.text_spec)
    arrays, notes = rows.as_the_paper_reads_it(
        unseen, run, recipe, tokenise, decoded=material.decoded, skipped=material.skipped
    )
    return rows.retrieval_in(evaluate_arrays(run.model, arrays, run.info, seed=recipe.seed, tokenise=tokenise)), notes


def _cost(run: Run, recipe: Recipe, material: Material) -> dict[str, Any]:
    """Parameters and the time of one study, a held-out one."""
    tokenise = NoteTokeniser(run.tokenizer_json, run.info.model.text_spec)
    ids = set(run.split["test"] or run.split["validation"])
    few = [sample for sample in material.studies if sample.id in ids][:4]
    timed, _ = rows.as_the_paper_reads_it(few, run, recipe, tokenise, decoded=material.decoded, skipped=material.skipped)
    able = np.flatnonzero(timed.present_NM.any(axis=1))[:1]
    # What a recipe leaves out is built but never run: it is no part of this model's cost.
    used = [count(getattr(run.model, name)) for name in (*(m.value for m in recipe.modalities), "fusion")]
    model, inputs = run.model.to(rows.device()), timed.inputs(able).to(rows.device()) if len(able) else None
    return {
        "parameters": sum(part.total for part in used),
        "trained": sum(part.trained for part in used),
        **rows.cost_of(None if inputs is None else lambda: model(inputs)),
    }
