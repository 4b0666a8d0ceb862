"""`foveal train`: the command line of training. Heavy imports happen inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveal_train.cli.making import Asked, make, with_heads


def train(
    *,
    data: Annotated[list[str] | None, Parameter(name=["--data"], negative=(), consume_multiple=False)] = None,
    recipe: str | None = None,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name=["--set"], negative=(), consume_multiple=False)] = None,
    heads: str | None = None,
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

        foveal train --recipe edge --data brset:data/brset --heads icdr,edema,drusen

        foveal train --resume --out runs/edge

        torchrun --nproc-per-node 4 -m foveal_runtime.cli.main train --recipe base --data brset:data/brset --out runs/base

    Args:
        data: Data set as kind:path (brset, mbrset, deepeyenet, idrid, folder); repeat for several. Only a resume needs none.
        recipe: Name of a recipe that comes with foveal, or the path of a .toml file; edge by default.
        out: The run's folder; runs/RECIPE-DATE-TIME by default.
        set_: Override one key of the recipe as key=value; repeat for several.
        heads: Heads to train, with commas: icdr, sdrg, edema, edema_risk, a finding of BRSET such as drusen, or NAME of a
            column label_NAME of a folder's table; icdr,sdrg by default. A head without labels answers nothing.
        resume: Go on where the last checkpoint of --out (by default the newest unfinished run) stood. Needs no other flag;
            those that are given must be as they were.
        skip_bad: Leave unusable rows and photographs out instead of refusing the data set.
        columns: Mapping file (TOML): what the tables' own columns and words mean; docs/datasets.md shows one.
        own_patients: Let a row without a patient be a patient of its own instead of an unusable row.
        tensorboard: Write every loss, loss weight and learning rate to RUN/tensorboard after each epoch; curves.svg, which
            shows them all, is written at the end in any case.
        json: Print one JSON document on stdout: the run's folder, its parameters and its held-out metrics.
    """
    make(
        Asked(
            data=tuple(data or ()),
            recipe=recipe,
            out=out,
            set_=with_heads(set_, heads),
            resume=resume,
            skip_bad=skip_bad,
            columns=columns,
            own_patients=own_patients,
            tensorboard=tensorboard,
            json=json,
        )
    )
