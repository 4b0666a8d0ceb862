"""Run many recipes on the same data and put the paper's tables together; goes on where it stopped. Judges nothing itself.

Layout of a sweep's folder: rows/NAME/row.json, rows/NAME/run/ (a run like any other), tables.md, tables.json, table-I.svg …
A row that is there is not run again, one that was cut off resumes from its run's checkpoint: both only where the recipe is the
same and the data are, by their fingerprint.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size

from foveal_runtime.errors import CheckFailed, ConfigError, FovealError
from foveal_train.data import Sample
from foveal_train.data.fingerprint import fingerprint
from foveal_train.paper import markdown, plots, stored, tables
from foveal_train.paper.making import Material, new_row, with_unseen
from foveal_train.paper.plan import Plan, check, sentence
from foveal_train.paper.stored import ROW_FILE, Request
from foveal_train.runs import samples
from foveal_train.runs.reporter import Reporter, Silent
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.recipe import Method, Recipe
from foveal_train.training.recipe_file import RECIPES, known_recipes, load_recipe

TABLES_FILE = "tables.json"
MARKDOWN_FILE = "tables.md"
CACHE = "cache"
SCHEMA_VERSION = 1


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
    """Say what every recipe will take, run those that have no row yet, then write the tables.

    Args:
        recipes: what to run, each under its own name.
        specs: data sets, `kind:path`.
        out: the sweep's folder; may hold rows of an earlier call.
        unseen: other data sets for Table V; may be added to a sweep that is finished. Without, what was measured stays.
        skip_bad: leave unusable rows of the data sets out.
        reporter: told how it gets on.

    Returns:
        The document of tables.json: `schema_version`, `data`, `unseen`, `remark`, `rows`, `failed` {recipe: message}, `tables`.

    Raises:
        ConfigError: a row or a run in `out` is of another recipe or data.
        DataError: the data sets can't be read, or `out` can't be written.
        CheckFailed: recipes failed; the tables of the others are written all the same.
    """
    say = reporter or Silent()
    say.stage("reading data")
    studies = tuple(samples.load_samples(specs, skip_bad=skip_bad))
    elsewhere = tuple(samples.load_samples(unseen, skip_bad=skip_bad)) if unseen else ()
    plans = _plans(recipes, studies, elsewhere, out)
    check(plans)
    _announce(plans, studies, say)
    done: dict[str, Any] = {}
    failed: dict[str, str] = {}
    cache = out / CACHE
    try:
        decoded = DecodedPhotographs([*studies, *elsewhere], cache)
        material = Material(
            specs=tuple(specs), studies=studies, unseen=elsewhere, decoded=decoded, skip_bad=skip_bad, reporter=say
        )
        for plan in plans:
            name = plan.request.recipe.name
            try:
                done[name] = _row(plan, material, {"data": list(unseen), "data_sha256": _sha(elsewhere)})
            except FovealError as error:
                failed[name] = str(error)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    document = _written(done, failed, recipes, specs, unseen, out)
    if failed:
        why = "; ".join(f"{name}: {message}" for name, message in failed.items())
        raise CheckFailed(f"{len(failed)} of {len(recipes)} recipes failed: {why}. The same command runs them again")
    return document


def _sha(studies: Sequence[Sample]) -> str:
    return fingerprint(studies, named=True) if studies else ""


def _plans(recipes: Sequence[Recipe], studies: Sequence[Sample], unseen: Sequence[Sample], out: Path) -> list[Plan]:
    known, other = _sha(studies), _sha(unseen)
    plans = []
    for recipe in recipes:
        folder, request = out / "rows" / recipe.name, Request(recipe=recipe, data_sha256=known)
        found = stored.look(folder, request)
        had = (found.row or {}).get("unseen_request", {}).get("data_sha256", "")
        wanted = bool(unseen) and recipe.name in tables.UNSEEN_RECIPES and had != other
        plans.append(Plan(request=request, folder=folder, stored=found, measure_unseen=wanted))
    return plans


def _announce(plans: Sequence[Plan], studies: Sequence[Sample], say: Reporter) -> None:
    """Say what each row will take and which ones lack weights."""
    if any(not plan.is_done for plan in plans):
        say.stage("timing a step of every row")
    for plan in plans:
        recipe = plan.request.recipe
        try:
            with _memory_as_an_error(recipe):
                say.remark(sentence(plan, round(recipe.split.train * len(studies))))
        except FovealError as error:
            say.remark(f"{recipe.name}: can't be timed: {error}")


def _row(plan: Plan, material: Material, unseen_request: dict[str, Any]) -> dict[str, Any]:
    """The row of a plan, from its folder or made now and written there."""
    recipe = plan.request.recipe
    if plan.is_done:
        assert plan.stored.row is not None
        return _shown(plan.stored.row)
    material.reporter.stage(f"== {recipe.name} ==")
    with _memory_as_an_error(recipe):
        found = with_unseen(plan, material) if plan.stored.row is not None else new_row(plan, material)
    row = {"recipe": recipe.name, "method": recipe.method.value, **found, "request": plan.request.document()}
    if plan.measure_unseen:
        row["unseen_request"] = unseen_request
    stored.write(plan.folder / ROW_FILE, row)
    return _shown(row)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as tables.json has it."""
    return {key: value for key, value in row.items() if key not in ("request", "unseen_request")}


@contextlib.contextmanager
def _memory_as_an_error(recipe: Recipe) -> Iterator[None]:
    """Let a row for which memory is too small fail as any other does.

    Raises:
        ConfigError: memory ran out, on the GPU or the processor.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or should_reduce_batch_size(error)):
            raise
        raise ConfigError(
            f"memory ran out with batches of {recipe.optimiser.batch_size}; sweep a recipe file of its own with a smaller "
            "optimiser.batch_size and a larger optimiser.accumulate, or free memory"
        ) from None
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _written(
    done: dict[str, Any],
    failed: dict[str, str],
    recipes: Sequence[Recipe],
    specs: Sequence[str],
    unseen: Sequence[str],
    out: Path,
) -> dict[str, Any]:
    """Write the tables of what is there."""
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
    stored.write(out / TABLES_FILE, document)
    (out / MARKDOWN_FILE).write_text(markdown.markdown(document), encoding="utf-8")
    for table in filled:
        (out / f"table-{table['number']}.svg").write_bytes(plots.chart(table))
    return document


def _remark(recipes: Sequence[Recipe]) -> str:
    """Which profile the models have: the paper's figures belong to `base` alone."""
    profiles = sorted({recipe.model.profile for recipe in recipes if recipe.method is Method.MULTIMODAL})
    if not profiles:
        return "Baselines alone."
    smaller = "" if profiles == ["paper"] else ", where the paper's is paper: compare the shape of the tables, not the figures"
    return f"Profile {' and '.join(profiles)}{smaller}."
