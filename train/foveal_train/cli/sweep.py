"""`foveal sweep`: the command line of the paper's tables. Heavy imports happen inside the command."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def sweep(
    *recipes: str,
    data: Annotated[list[str], Parameter(name=["--data"], negative=(), consume_multiple=False)],
    out: Path,
    unseen: Annotated[list[str] | None, Parameter(name=["--unseen"], negative=(), consume_multiple=False)] = None,
    set_: Annotated[list[str] | None, Parameter(name=["--set"], negative=(), consume_multiple=False)] = None,
    skip_bad: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Run recipes on the same data and write the paper's Tables I to VI, ours beside theirs.

    At the start it says what each row will take and which rows lack weights. Run it again to go on: finished rows stay, a
    training that was cut off resumes, --unseen may be added. Tables land in OUT as tables.md, tables.json and table-I.svg to
    table-VI.svg; each training is a run in OUT/rows/NAME/run.

    For example:

        foveal sweep recipes/paper/*.toml --data brset:data/brset --out sweeps/paper

        foveal sweep --data brset:data/brset --unseen deepeyenet:data/deepeyenet --out sweeps/paper

        foveal sweep --data brset:data/brset --out sweeps/small --set profile=edge --set optimiser.epochs=6

        foveal sweep paper/full edge --data brset:data/brset --out sweeps/two --set clip.weights=weights/clip

    Args:
        recipes: Names, paths or patterns of recipes; all of the paper's by default.
        data: Data set as kind:path; repeat for several.
        out: The sweep's folder.
        unseen: Another data set as kind:path for Table V; repeat for several.
        set_: Override one key of every recipe as key=value; repeat for several.
        skip_bad: Leave unusable rows and photographs out instead of refusing the data set.
        json: Print tables.json on stdout.
    """
    from rich.console import Console

    from foveal_train.paper.sweep import MARKDOWN_FILE, recipes_of
    from foveal_train.paper.sweep import sweep as run_sweep
    from foveal_train.training.progress import ProgressReporter

    chosen = recipes_of(recipes, set_ or [])
    with ProgressReporter(max(recipe.optimiser.epochs for recipe in chosen)) as reporter:
        try:
            document = run_sweep(chosen, data, out, unseen=unseen or [], skip_bad=skip_bad, reporter=reporter)
        except KeyboardInterrupt:
            reporter.remark("stopped; the same command goes on: finished rows stay, and a training resumes at its last epoch")
            raise
    if json:
        sys.stdout.write(json_module.dumps(document, allow_nan=False) + "\n")
        return
    console = Console(stderr=True)
    console.print(f"{len(document['rows'])} rows; tables written to [bold]{out / MARKDOWN_FILE}[/bold]", soft_wrap=True)
