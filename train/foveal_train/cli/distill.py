"""`foveal distill`: the command line of distillation. Heavy imports happen inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foveal_train.cli.making import Asked, make


def distill(
    *teachers: Path,
    unlabelled: Annotated[list[str] | None, Parameter(name=["--unlabelled"], negative=(), consume_multiple=False)] = None,
    answers: Path | None = None,
    not_held_out: Annotated[bool, Parameter(negative=())] = False,
    asked: Asked | None = None,
) -> None:
    """Train a student on what one or several finished runs say of its studies, and write a run.

    The student learns labels and pairs as `foveal train` does, and besides them its teachers' calibrated probabilities (the
    mean of all) and joint vectors, for each subset of modalities that they know; the recipe's section [distillation] weighs
    them. Teachers may see photographs at another resolution. What they say is kept by content and asked once.

    The teachers' split is the student's: what one of them held out is never learnt from. Teachers that do not hold out the
    same studies are refused.

    For example:

        foveal distill runs/teacher --recipe edge --data brset:data/brset --out runs/student

        foveal distill runs/seed-0 runs/seed-1 runs/seed-2 --data idrid:data/idrid --unlabelled folder:data/photographs

        foveal distill runs/teacher --data idrid:data/idrid --set distillation.temperature=3 --set quantisation.epochs=4

        foveal distill --resume --out runs/student

    Args:
        teachers: Folders that `foveal train` wrote. Only a resume needs none.
        unlabelled: Data set of whose photographs alone the student learns, by what its teachers say of them; repeat for
            several. Photographs that the student is judged on are left out, by content and by patient.
        answers: Folder for the teachers' answers, which other distillations may share; .answers beside the run by default.
        not_held_out: Go on where teachers have learnt from studies that another one held out. Those are not learnt from, but
            no figure of the student is held out, and its metrics say so.
    """
    from foveal_runtime.errors import ConfigError
    from foveal_train.data.source import with_options
    from foveal_train.runs.teachers import Teaching

    asked = asked or Asked()
    if not teachers and not asked.resume:
        raise ConfigError("no teacher given; name the folder of at least one run that foveal train wrote")
    if not teachers and (unlabelled or answers or not_held_out):
        raise ConfigError("a resume takes --unlabelled, --answers and --not-held-out with its teachers; name them all, or none")
    teaching = None
    if teachers:
        specs = (with_options(spec, own_patients=True, absolute=True) for spec in unlabelled or ())
        teaching = Teaching(
            teachers=tuple(path.absolute() for path in teachers),
            unlabelled=tuple(specs),
            answers=None if answers is None else answers.absolute(),
            not_held_out=not_held_out,
        )
    make(asked, teaching, command="distill")
