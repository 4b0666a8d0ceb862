"""Run many recipes on the same data and put the paper's tables together; goes on where it stopped. Judges nothing itself.

Layout of a sweep's folder: rows/NAME/row.json, rows/NAME/run/ (a run like any other), tables.md, tables.json, table-I.svg …
A row that is there is not run again; one that was cut off resumes from its run's checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foveal_runtime.errors import CheckFailed, ConfigError, DataError, FovealError
from foveal_runtime.study.notes import NoteTokeniser
from foveal_train import pipeline
from foveal_train.data import Sample
from foveal_train.evaluation import evaluate_arrays
from foveal_train.paper import markdown, plots, rows, tables
from foveal_train.paper.baselines import baseline_row
from foveal_train.paper.parameters import count
from foveal_train.runs import samples
from foveal_train.runs.claim import REQUEST_FILE
from foveal_train.runs.reporter import Reporter, Silent
from foveal_train.runs.run import METRICS_FILE, RUN_FILE, Run, write_json
from foveal_train.training.arrays import Skipped
from foveal_train.training.recipe import Method, Recipe, recipe_document
from foveal_train.training.recipe_file import RECIPES, known_recipes, load_recipe

ROW_FILE = "row.json"
TABLES_FILE = "tables.json"
MARKDOWN_FILE = "tables.md"
SCHEMA_VERSION = 1
Say = Callable[[str], None]


def recipes_of(names: Sequence[str], overrides: Sequence[str]) -> list[Recipe]:
    """Recipes by name, path or pattern; none named takes all of the paper's.

    `recipes/paper/*.toml` means foveal's own recipes where the working directory has no such files, and a shell that finds
    nothing there hands the pattern on as it stands.

    Raises:
        ConfigError: there is no such recipe, or two have one name.
    """
    paths: list[str] = []
    for name in names or ["recipes/paper/*.toml"]:
        own = name.removeprefix("recipes/")
        if Path(name).suffix != ".toml" or Path(name).is_file():
            paths.append(name)
        elif found := sorted(RECIPES.glob(own)):
            paths += [str(path) for path in found]
        else:
            raise ConfigError(f"there is no recipe {name!r}; choose one of {', '.join(known_recipes())}, or name a .toml file")
    recipes = [load_recipe(path, tuple(overrides)) for path in paths]
    taken = [recipe.name for recipe in recipes]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ConfigError(f"two recipes are called {', '.join(twice)}; give one of them another name = in its file")
    return recipes


def sweep(
    recipes: Sequence[Recipe],
    specs: Sequence[str],
    out: Path,
    *,
    unseen: Sequence[str] = (),
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Run every recipe that has no row yet, then write the tables.

    Args:
        recipes: what to run, each under its own name.
        specs: data sets, `kind:path`.
        out: the sweep's folder; may hold rows of an earlier call.
        unseen: other data sets for Table V.
        skip_bad: leave unusable rows of the data sets out.
        reporter: told how it gets on.

    Returns:
        The document of tables.json: `schema_version`, `data`, `unseen`, `remark`, `rows`, `failed` {recipe: message}, `tables`.

    Raises:
        ConfigError: a row in `out` was run with another recipe or data.
        DataError: the data sets can't be read or `out` can't be written.
        CheckFailed: recipes failed; the tables of the others are written all the same.
    """
    say = reporter or Silent()
    elsewhere = samples.load_samples(unseen, skip_bad=skip_bad) if unseen else None
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for recipe in recipes:
        folder = out / "rows" / recipe.name
        request = {"recipe": recipe_document(recipe), "data": list(specs), "unseen": list(unseen)}
        known = _known_row(folder, request)
        if known is not None:
            done[recipe.name] = known
            continue
        say.stage(f"== {recipe.name} ==")
        try:
            found = _row(recipe, specs, folder / "run", elsewhere, skip_bad=skip_bad, reporter=say)
        except FovealError as error:
            failed[recipe.name] = str(error)
            continue
        done[recipe.name] = {"recipe": recipe.name, "method": recipe.method.value, **found}
        _write(folder / ROW_FILE, {**done[recipe.name], "request": request})
    filled = tables.fill(done)
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "data": list(specs),
        "unseen": list(unseen),
        "remark": _remark(recipes),
        "rows": done,
        "failed": failed,
        "tables": filled,
    }
    _write(out / TABLES_FILE, document)
    (out / MARKDOWN_FILE).write_text(markdown.markdown(document), encoding="utf-8")
    for table in filled:
        (out / f"table-{table['number']}.svg").write_bytes(plots.chart(table))
    if failed:
        why = "; ".join(f"{name}: {message}" for name, message in failed.items())
        raise CheckFailed(f"{len(failed)} of {len(recipes)} recipes failed: {why}. The same command runs them again")
    return document


def _remark(recipes: Sequence[Recipe]) -> str:
    """Which profile the models have: the paper's figures belong to `base` alone."""
    profiles = sorted({recipe.model.profile for recipe in recipes if recipe.method is Method.MULTIMODAL})
    if not profiles:
        return "Baselines alone."
    smaller = "" if profiles == ["base"] else ", where the paper's is base: compare the shape of the tables, not the figures"
    return f"Profile {' and '.join(profiles)}{smaller}."


def _known_row(folder: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    path = folder / ROW_FILE
    if not path.is_file():
        return None
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if row.pop("request") != request:
        raise ConfigError(f"{folder} holds a row of another recipe or data; name another folder with --out, or remove it")
    return row


def _write(path: Path, document: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, document)
    except OSError as error:
        raise DataError(f"{path} can't be written ({error.strerror}); free space or name another folder with --out") from None


def _row(
    recipe: Recipe,
    specs: Sequence[str],
    folder: Path,
    unseen: list[Sample] | None,
    *,
    skip_bad: bool,
    reporter: Reporter,
) -> dict[str, Any]:
    if recipe.method is not Method.MULTIMODAL:
        reporter.stage(f"{recipe.name}: reading data")
        split = samples.split_samples(samples.load_samples(specs, skip_bad=skip_bad), recipe)
        say = lambda what: reporter.stage(f"{recipe.name}: {what}")  # noqa: E731
        return baseline_row(recipe, split, unseen, skipped=_skip_reporter(reporter, skip_bad=skip_bad), say=say)
    return _run_row(recipe, specs, folder, unseen, skip_bad=skip_bad, reporter=reporter)


def _skip_reporter(reporter: Reporter, *, skip_bad: bool) -> Skipped | None:
    """Passes on what is left out of a row; None where nothing may be."""
    return (lambda problem: reporter.remark(f"skipped {problem}")) if skip_bad else None


def _run_row(
    recipe: Recipe,
    specs: Sequence[str],
    folder: Path,
    unseen: list[Sample] | None,
    *,
    skip_bad: bool,
    reporter: Reporter,
) -> dict[str, Any]:
    if (folder / RUN_FILE).is_file():
        run = Run.open(folder)
    else:
        resume = (folder / REQUEST_FILE).is_file()
        run = pipeline.train(recipe, specs, folder, resume=resume, skip_bad=skip_bad, reporter=reporter)
    skipped = _skip_reporter(reporter, skip_bad=skip_bad)
    metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    tokenise = NoteTokeniser(run.tokenizer_json, run.info.model.text_spec)
    reporter.stage(f"{recipe.name}: measuring")
    # A few held-out studies are enough to time one: decoding them all again would cost minutes on BRSET.
    ids = set(run.split["test"] or run.split["validation"])
    few = [sample for sample in samples.load_samples(specs, skip_bad=skip_bad) if sample.id in ids][:4]
    timed, _ = rows.as_the_paper_reads_it(few, run, recipe, tokenise, skipped=skipped)
    able = np.flatnonzero(timed.present_NM.any(axis=1))[:1]
    elsewhere: dict[str, Any] | None = None
    notes: list[str] = []
    if unseen:
        arrays, notes = rows.as_the_paper_reads_it(unseen, run, recipe, tokenise, skipped=skipped)
        elsewhere = rows.retrieval_in(evaluate_arrays(run.model, arrays, run.info, seed=recipe.seed, tokenise=tokenise))
    # What a recipe leaves out is built but never run: it is no part of this model's cost.
    used = [count(getattr(run.model, name)) for name in (*(m.value for m in recipe.modalities), "fusion")]
    model, inputs = run.model.to(rows.device()), timed.inputs(able).to(rows.device()) if len(able) else None
    return {
        "studies": metrics["studies"],
        "retrieval": rows.retrieval_in(metrics),
        "grading": rows.grading_in(metrics),
        "unseen": elsewhere,
        "cost": {
            "parameters": sum(part.total for part in used),
            "trained": sum(part.trained for part in used),
            **rows.cost_of(None if inputs is None else lambda: model(inputs)),
        },
        "notes": notes,
    }
