"""What `foveal train` and `foveal distill` share: from flags to a run and what is printed of it. Imports happen inside."""

from __future__ import annotations

import json as json_module
import os
import shlex
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from foveal_train.runs.claim import Begun
    from foveal_train.runs.run import Run
    from foveal_train.runs.teachers import Teaching
    from foveal_train.training.progress import ProgressReporter

RUNS = Path("runs")
_DEFAULT = "edge"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asked:
    """The flags of both commands."""

    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None
    "Data set as kind:path (brset, mbrset, deepeyenet, idrid, folder); repeat for several. Only a resume needs none."
    recipe: str | None = None
    "Name of a recipe that comes with foveal, or the path of a .toml file; edge by default."
    out: Path | None = None
    "The run's folder; runs/RECIPE-DATE-TIME by default."
    set_: Annotated[list[str] | None, Parameter(name=["--set"], negative=(), consume_multiple=False)] = None
    "Override one key of the recipe as key=value; repeat for several."
    heads: str | None = None
    """Heads to train, with commas: icdr, sdrg, edema, edema_risk, a finding of BRSET such as drusen, or NAME of a column
    label_NAME of a folder's table; icdr,sdrg by default. A head without labels answers nothing."""
    resume: Annotated[bool, Parameter(negative=())] = False
    """Go on where the last checkpoint of --out (by default the newest unfinished run) stood. Needs no other flag; those that
    are given must be as they were."""
    skip_bad: Annotated[bool, Parameter(negative=())] = False
    "Leave unusable rows and photographs out instead of refusing the data set."
    columns: Path | None = None
    "Mapping file (TOML): what the tables' own columns and words mean; docs/datasets.md shows one."
    own_patients: Annotated[bool, Parameter(negative=())] = False
    "Let a row without a patient be a patient of its own instead of an unusable row."
    tensorboard: Annotated[bool, Parameter(negative=())] = False
    """Write every loss, loss weight and learning rate to RUN/tensorboard after each epoch; curves.svg, which shows them all, is
    written at the end in any case."""
    json: Annotated[bool, Parameter(negative=())] = False
    "Print one JSON document on stdout: the run's folder, its parameters, its teachers and its held-out metrics."

    @property
    def overrides(self) -> tuple[str, ...]:
        """`--set`, and `--heads` as one more of them."""
        return (*(self.set_ or ()), *(() if self.heads is None else (f"heads={self.heads}",)))


def make(asked: Asked, teaching: Teaching | None = None, command: str = "train") -> None:
    """Train what was asked for, and print what came out.

    Args:
        asked: the flags.
        teaching: of `foveal distill`; None, with a resume, takes the one that the run was begun with.
        command: which one it was.

    Raises:
        ConfigError: flags that do not go together, and whatever training raises.
    """
    from foveal_runtime.errors import ConfigError
    from foveal_train.runs.claim import begun
    from foveal_train.training.progress import ProgressReporter

    if asked.out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("several processes train together, but each would choose a folder of its own; name one with --out")
    if not asked.data and not asked.resume:
        raise ConfigError("no data given; name at least one --data SPEC, for example --data brset:PATH")
    name = f"{Path(asked.recipe or _DEFAULT).stem}-{datetime.now():%Y%m%d-%H%M%S}"
    folder = asked.out or (_unfinished() if asked.resume else RUNS / name)
    request = _request(asked, begun(folder) if asked.resume else None, teaching)
    with ProgressReporter(request.recipe.optimiser.epochs, quiet=bool(int(os.environ.get("RANK", "0")))) as reporter:
        run = _run(request, folder, command, reporter, resume=asked.resume)
    if not int(os.environ.get("RANK", "0")):  # of several processes the first one alone writes and reports
        _report(run, request, json=asked.json)


def _request(asked: Asked, known: Begun | None, teaching: Teaching | None) -> Begun:
    """What is to be made: the flags, over what an unfinished run was begun with."""
    from foveal_train.data.source import with_options
    from foveal_train.runs.claim import Begun
    from foveal_train.training.recipe_file import load_recipe

    as_before = known is not None and asked.recipe is None and not asked.overrides
    # A run is exported from any folder, so its data sets are named from the root.
    specs = tuple(
        with_options(spec, columns=asked.columns, own_patients=asked.own_patients, absolute=True) for spec in asked.data or ()
    )
    return Begun(
        recipe=known.recipe if known is not None and as_before else load_recipe(asked.recipe or _DEFAULT, asked.overrides),
        specs=specs or (known.specs if known is not None else ()),
        skip_bad=asked.skip_bad or (known is not None and known.skip_bad),
        tensorboard=asked.tensorboard or (known is not None and known.tensorboard),
        teaching=teaching or (known.teaching if known is not None else None),
    )


def _run(request: Begun, folder: Path, command: str, reporter: ProgressReporter, *, resume: bool) -> Run:
    """Train; who stops it is told how to go on."""
    from foveal_train import pipeline

    try:
        return pipeline.train(
            request.recipe,
            request.specs,
            folder,
            resume=resume,
            skip_bad=request.skip_bad,
            tensorboard=request.tensorboard,
            teaching=request.teaching,
            command=shlex.join(["foveal", *sys.argv[1:]]),
            reporter=reporter,
        )
    except KeyboardInterrupt:
        reporter.remark(_how_to_go_on(folder, command))
        raise


def _report(run: Run, request: Begun, *, json: bool) -> None:
    """The run's folder, parameters and held-out metrics: as one JSON document on stdout, or as tables on stderr."""
    from foveal_train.paper.parameters import count_recipe

    metrics = run.metrics
    counted = count_recipe(replace(request.recipe, model=run.info.model))
    if json:
        parameters = {"total": counted.model.total, "trained": counted.model.trained}
        document = {"run": str(run.path), "space_id": run.info.space_id, "parameters": parameters, "metrics": metrics}
        if run.info.distillation is not None:
            document["distillation"] = run.info.distillation.model_dump(mode="json")
        sys.stdout.write(json_module.dumps(document) + "\n")
        return
    from rich.console import Console

    from foveal_train.evaluation import table

    console = Console(stderr=True)
    console.print(table(metrics))
    console.print(str(counted))
    console.print(f"run written to [bold]{run.path}[/bold]; next: foveal export {run.path} --precision int8")


def _how_to_go_on(folder: Path, command: str) -> str:
    """What a person who stopped a training wants to know."""
    from foveal_train.training.checkpoint import finished_epochs

    epochs = finished_epochs(folder)
    kept = f"{epochs} epochs are kept" if epochs else "no epoch was finished yet"
    return f"stopped; {kept}. Go on with: {shlex.join(['foveal', command, '--resume', '--out', str(folder)])}"


def _unfinished() -> Path:
    """The newest unfinished run under ./runs."""
    from foveal_runtime.errors import DataError
    from foveal_train.runs.claim import REQUEST_FILE
    from foveal_train.runs.run import RUN_FILE

    started = [path.parent for path in RUNS.glob(f"*/{REQUEST_FILE}") if not (path.parent / RUN_FILE).exists()]
    if not started:
        raise DataError(f"there is no unfinished run under {RUNS} to resume; name one with --out, or leave --resume out")
    return max(started, key=lambda path: (path / REQUEST_FILE).stat().st_mtime)
