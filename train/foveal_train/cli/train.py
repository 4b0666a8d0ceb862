"""`foveal train`: the command line of training. Heavy imports happen inside the command."""

from __future__ import annotations

import json as json_module
import os
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from foveal_train.runs.claim import Begun
    from foveal_train.runs.run import Run
    from foveal_train.training.progress import ProgressReporter

RUNS = Path("runs")
_DEFAULT = "edge"


def train(
    *,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    recipe: str | None = None,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name=["--set"], negative=(), consume_multiple=False)] = None,
    resume: bool = False,
    skip_bad: bool = False,
    columns: Path | None = None,
    own_patients: Annotated[bool, Parameter(negative=())] = False,
    tensorboard: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a model and write a run.

    Recipe `base` is the paper's model: 202.0M parameters by our count, 36.9M of them trained, beside the 187M that the paper
    states (its two encoders alone have more), and 13.5M of decoders that exist in training alone. The count of the run at
    hand is printed at its end.

    For example:

        foveal train --recipe edge --data brset:data/brset

        foveal train --recipe edge --data "idrid:data/idrid" --out runs/idrid --set optimiser.epochs=8

        foveal train --recipe base --data brset:data/brset --set image.weights=weights/vit_base.safetensors

        foveal train --resume --out runs/edge

        torchrun --nproc-per-node 4 -m foveal_runtime.cli.main train --recipe base --data brset:data/brset --out runs/base

    Args:
        data: Data set as kind:path (brset, mbrset, deepeyenet, idrid, folder); repeat for several. Only a resume needs none.
        recipe: Name of a recipe that comes with foveal, or the path of a .toml file; edge by default.
        out: The run's folder; runs/RECIPE-DATE-TIME by default.
        set_: Override one key of the recipe as key=value; repeat for several.
        resume: Go on where the last checkpoint of --out (by default the newest unfinished run) stood. Needs no other flag;
            those that are given must be as they were.
        skip_bad: Leave unusable rows and photographs out instead of refusing the data set.
        columns: Mapping file (TOML): what the tables' own columns and words mean; docs/datasets.md shows one.
        own_patients: Let a row without a patient be a patient of its own instead of an unusable row.
        tensorboard: Write every loss, loss weight and learning rate to RUN/tensorboard after each epoch; curves.svg, which
            shows them all, is written at the end in any case.
        json: Print one JSON document on stdout: the run's folder, its parameters and its held-out metrics.
    """
    from foveal_runtime.errors import ConfigError
    from foveal_train.data.source import with_options
    from foveal_train.paper.parameters import count_recipe
    from foveal_train.runs.claim import Begun, begun
    from foveal_train.training.progress import ProgressReporter
    from foveal_train.training.recipe_file import load_recipe

    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("several processes train together, but each would choose a folder of its own; name one with --out")
    if not data and not resume:
        raise ConfigError("no data given; name at least one --data SPEC, for example --data brset:PATH")
    folder = out or (_unfinished() if resume else RUNS / f"{Path(recipe or _DEFAULT).stem}-{datetime.now():%Y%m%d-%H%M%S}")
    known = begun(folder) if resume else None
    as_before = known is not None and recipe is None and not set_
    # A run is exported from any folder, so its data sets are named from the root.
    specs = [with_options(spec, columns=columns, own_patients=own_patients, absolute=True) for spec in data or ()]
    asked = Begun(
        recipe=known.recipe if known is not None and as_before else load_recipe(recipe or _DEFAULT, tuple(set_ or ())),
        specs=tuple(specs) or (known.specs if known is not None else ()),
        skip_bad=skip_bad or (known is not None and known.skip_bad),
        tensorboard=tensorboard or (known is not None and known.tensorboard),
    )
    with ProgressReporter(asked.recipe.optimiser.epochs, quiet=bool(int(os.environ.get("RANK", "0")))) as reporter:
        run = _run(asked, folder, resume=resume, reporter=reporter)
    if int(os.environ.get("RANK", "0")):
        return  # of several processes the first one alone writes and reports
    metrics = run.metrics
    counted = count_recipe(replace(asked.recipe, model=run.info.model))
    if json:
        parameters = {"total": counted.model.total, "trained": counted.model.trained}
        document = {"run": str(run.path), "space_id": run.info.space_id, "parameters": parameters, "metrics": metrics}
        sys.stdout.write(json_module.dumps(document) + "\n")
        return
    from rich.console import Console

    from foveal_train.evaluation import table

    console = Console(stderr=True)
    console.print(table(metrics))
    console.print(str(counted))
    console.print(f"run written to [bold]{run.path}[/bold]; next: foveal export {run.path} --precision int8")


def _run(asked: Begun, folder: Path, *, resume: bool, reporter: ProgressReporter) -> Run:
    """Train; who stops it is told how to go on."""
    from foveal_train import pipeline

    try:
        return pipeline.train(
            asked.recipe,
            asked.specs,
            folder,
            resume=resume,
            skip_bad=asked.skip_bad,
            tensorboard=asked.tensorboard,
            command=shlex.join(["foveal", *sys.argv[1:]]),
            reporter=reporter,
        )
    except KeyboardInterrupt:
        reporter.remark(_how_to_go_on(folder))
        raise


def _how_to_go_on(folder: Path) -> str:
    """What a person who stopped a training wants to know."""
    from foveal_train.training.checkpoint import finished_epochs

    epochs = finished_epochs(folder)
    kept = f"{epochs} epochs are kept" if epochs else "no epoch was finished yet"
    return f"stopped; {kept}. Go on with: {shlex.join(['foveal', 'train', '--resume', '--out', str(folder)])}"


def _unfinished() -> Path:
    """The newest unfinished run under ./runs."""
    from foveal_runtime.errors import DataError
    from foveal_train.runs.claim import REQUEST_FILE
    from foveal_train.runs.run import RUN_FILE

    started = [path.parent for path in RUNS.glob(f"*/{REQUEST_FILE}") if not (path.parent / RUN_FILE).exists()]
    if not started:
        raise DataError(f"there is no unfinished run under {RUNS} to resume; name one with --out, or leave --resume out")
    return max(started, key=lambda path: (path / REQUEST_FILE).stat().st_mtime)
