"""The commands `foveal data synth` and `foveal data check`. Prints; what it prints is worked out in `foveal_train.data`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Progress = Callable[[int, int], None]


def synth(
    out: Path,
    /,
    *,
    patients: int,
    seed: int,
    release: str = "1.0.1",
    balanced: Annotated[bool, Parameter(negative=())] = False,
    side_px: int = 512,
    force: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Generate a BRSET-shaped data set: two photographs a patient, labels, records, and the quirks of the real table.

    The same arguments give the same bytes. No generated eye is anybody's.

    Examples:
        foveal data synth ./brset-like --patients 500 --seed 1
        foveal data synth ./small --patients 60 --seed 1 --balanced --release 1.0.2

    Parameters
    ----------
    out
        Folder to make; read it back as brset:OUT.
    patients
        How many people; each has two eyes.
    seed
        0 or more; another seed, other people.
    release
        BRSET release whose file names and columns are written: 1.0.0, 1.0.1 or 1.0.2.
    balanced
        Spread patients evenly over the five grades instead of BRSET's prevalence (6.6 % with retinopathy).
    side_px
        Height and width of a photograph in pixels.
    force
        Replace a generated data set that is already there.
    as_json
        Print one JSON document and nothing else on stdout.
    """
    from foveal_train.data.synthetic import synthesise

    with progress_bar("photographs", quiet=False) as progress:
        made = synthesise(
            out,
            patients=patients,
            seed=seed,
            release=release,
            balanced=balanced,
            side_px=side_px,
            force=force,
            progress=progress,
        )
    if as_json:
        document = {
            "path": str(made),
            "spec": f"brset:{made}",
            "release": release,
            "patients": patients,
            "images": 2 * patients,
        }
        print(json.dumps(document, indent=2))  # noqa: T201
    else:
        print(f"{2 * patients} photographs of {patients} patients in {made}; read them as brset:{made}")  # noqa: T201


@contextmanager
def progress_bar(what: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar on stderr that is gone when the work is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update
