"""What each option of a student's recipe is worth, out of fold and paired: trained short, one option at a time beside none.

    python benchmarks/student_options.py make --teachers HONEST --data idrid:PATH --lesions MASKS --out OPTIONS
    python benchmarks/student_options.py judge --teachers HONEST --out OPTIONS --json FILE

HONEST is what `idrid_nested.py --as-is --seeds 0,1,2 --same-folds --grouped` writes: seed-S/fold-K, trainings that never saw
the photographs of fold K. `make` distils a student of the three of each fold for every option, in `--epochs` epochs (the nested
study's six), and puts the fold's photographs through it, as they are and as simulated cameras. It goes on where it was cut off,
and two calls with `--only` share the work. `judge` compares each option with none, over the folds that it finished:
differences with 95 % bootstrap, photographs of an eye resampled together. Six epochs are a screen: what helps at full length
may not help here, and a difference whose interval holds 0 says that 404 photographs don't tell.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
from cyclopts import Parameter

from foveal_runtime.cli.local_server import FOVEAL
from foveal_train.evaluation.intervals import Resamples, resample
from foveal_train.runs.run import RUN_FILE, SPLIT_FILE, write_json
from foveal_train.runs.samples import load_samples
from held_out import BOOTSTRAP, Answers, replicates_of
from idrid_student import FOLDS, asked, of_run, teachers_of

app = cyclopts.App(help=__doc__)
NONE = "none"
OPTIONS: dict[str, tuple[str, ...]] = {
    NONE: (),
    "lesions": ("losses.lesions=0.2", "losses.lesion_masks={lesions}"),
    "averaged": ("optimiser.ema=0.98",),
    "unmirrored": ("distillation.flips=false",),
    "reconstruction": ("losses.image_reconstruction=0.2",),
}
"""Keys of the recipe that each option sets; `unmirrored` takes away what the recipe has."""


@app.command
def make(
    *,
    teachers: Path,
    data: str,
    lesions: Path,
    out: Path,
    epochs: int = 6,
    option: list[str] | None = None,
    only: list[int] | None = None,
) -> None:
    """Make what is missing of the students and their answers.

    Args:
        teachers: folder of seed-*/fold-*.
        data: data set as kind:path.
        lesions: folder of lesion masks (docs/datasets.md).
        out: folder for OPTION-K.npz.
        epochs: of each student.
        option: these options alone.
        only: these folds alone.
    """
    by_id = {sample.id: sample for sample in load_samples([data])}
    for fold in only or range(FOLDS):
        own = teachers_of(teachers, fold)
        for name in option or OPTIONS:
            if (answers := out / f"{name}-{fold}.npz").exists():
                continue
            student = out / f"{name}-{fold}"
            if not (student / RUN_FILE).exists():
                keys = (f"optimiser.epochs={epochs}", *(key.format(lesions=lesions.resolve()) for key in OPTIONS[name]))
                asked_for = [part for key in keys for part in ("--set", key)]
                again = ["--resume"] if student.exists() else []
                command = [*FOVEAL, "distill", *map(str, own), "--recipe", "edge", "--data", data, "--out", str(student)]
                subprocess.run([*command, "--answers", str(out / "answers"), *asked_for, *again], check=True)
            held_out = json.loads((own[0] / SPLIT_FILE).read_text(encoding="utf-8"))["test"]
            ask, spec = of_run(student)
            asked(ask, [by_id[each] for each in held_out], spec).save(answers)
            shutil.rmtree(student)


def worth(option: Answers, none: Answers, drawn: Resamples) -> dict[str, Any]:
    """What an option adds to each figure of the same photographs, and the figure without it."""
    assert option.ids == none.ids
    found: dict[str, Any] = {}
    for kind in ("plain", "camera"):
        logits = [getattr(side, f"{kind}_NG") for side in (option, none)]
        with_it, without = (replicates_of(each, none.labels_N) for each in logits)
        many_with, many_without = (replicates_of(each, none.labels_N, drawn) for each in logits)
        found[kind] = {
            figure: {
                "none": without[figure].item(),
                "added": (with_it[figure] - without[figure]).item(),
                "interval": np.nanquantile(many_with[figure] - many_without[figure], (0.025, 0.975)).tolist(),
            }
            for figure in without
        }
    return found


@app.command
def judge(
    *,
    teachers: Path,
    out: Path,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare each option with none, over the folds that it has finished.

    Args:
        teachers: folder of seed-*/fold-*, with groups.json.
        out: folder that `make` wrote.
        seed: of the bootstrap.
        json_: write the figures to this file.
    """
    groups = json.loads((teachers / "groups.json").read_text(encoding="utf-8"))["groups"]
    found: dict[str, Any] = {}
    for name in (name for name in OPTIONS if name != NONE):
        folds = [fold for fold in range(FOLDS) if all((out / f"{each}-{fold}.npz").exists() for each in (name, NONE))]
        if not folds:
            continue
        option, none = (Answers.together([Answers.load(out / f"{each}-{fold}.npz") for fold in folds]) for each in (name, NONE))
        drawn = resample([groups[each] for each in none.ids], count=BOOTSTRAP, seed=seed)
        found[name] = {"folds": folds, "photographs": len(none.ids), **worth(option, none, drawn)}
    if json_ is not None:
        write_json(json_, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    app()
