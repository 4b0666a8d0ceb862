"""A student of each fold's teachers, out of fold: as PyTorch has it and through its INT8 bundle, beside the teachers' ensemble.

    python benchmarks/idrid_student.py make --teachers HONEST --data idrid:PATH --out STUDENTS
    python benchmarks/idrid_student.py judge --teachers HONEST --data idrid:PATH --out STUDENTS --json FILE

HONEST is what `idrid_nested.py --as-is --seeds 0,1,2 --same-folds --grouped` writes: seed-S/fold-K, trainings that never saw
the photographs of fold K. `make` distils a student of the three of each fold (`foveal distill`, its split is theirs), exports
it to INT8 with the default budget, and puts the fold's photographs through both, as they are and as simulated cameras; it goes
on where it was cut off, and two calls with `--only` share the work. `judge` compares, over all folds that are finished, and
times the INT8 student beside one FP32 teacher, whose time counts once for each of the ensemble.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from PIL import Image

from cameras import through_its_camera
from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.cli.local_server import FOVEAL
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.photo.imaging import ImageSpec, photograph, square, standardise
from foveal_runtime.study.labels import ICDR, softmax
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.evaluation.intervals import resample
from foveal_train.runs.reference import Reference
from foveal_train.runs.run import RUN_FILE, SPLIT_FILE, Run, write_json
from foveal_train.runs.samples import load_samples
from held_out import BOOTSTRAP, Answers, Float, replicates_of

app = cyclopts.App(help=__doc__)
FOLDS = 5
TEACHERS, FP32, INT8 = "teachers", "student in PyTorch", "student in INT8"
_BATCH = 8
_TIMED, _ROUNDS = 16, 9

Ask = Callable[[list[Prepared]], npt.NDArray[Any]]


def teachers_of(teachers: Path, fold: int) -> list[Path]:
    """Finished trainings that left out a fold."""
    return sorted(folder for folder in teachers.glob(f"seed-*/fold-{fold}") if (folder / RUN_FILE).exists())


def asked(ask: Ask, samples: Sequence[Sample], spec: ImageSpec) -> Answers:
    """ICDR logits of photographs, as they are and through a simulated camera each, as `idrid_nested.py` has them."""
    plain, seen = [], []
    for number, sample in enumerate(samples):
        data = sample.image_bytes()
        assert data is not None
        picture = photograph(data, spec)
        plain.append(prepared(picture, spec))
        seen.append(prepared(through_its_camera(picture, number), spec))
    return Answers(
        ids=tuple(sample.id for sample in samples),
        labels_N=np.asarray([sample.labels.icdr for sample in samples], np.int64),
        plain_NG=in_batches(ask, plain),
        camera_NG=in_batches(ask, seen),
    )


def prepared(picture: Image.Image, spec: ImageSpec) -> Prepared:
    """A picture as the image graph takes it."""
    return Prepared(subset=frozenset({Modality.IMAGE}), pixels_CHW=standardise(square(picture, spec), spec))


def in_batches(ask: Ask, rows: list[Prepared]) -> Float:
    """Logits of all rows."""
    return np.concatenate([ask(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]).astype(np.float64)


def of_engine(bundle: Path) -> tuple[Ask, ImageSpec]:
    """Asks a bundle, on one core."""
    engine = Engine(Bundle.open(bundle), threads=1)
    return lambda rows: np.stack([outcome.logits[ICDR] for outcome in engine.run(rows)]), engine.manifest.image


def of_run(folder: Path) -> tuple[Ask, ImageSpec]:
    """Asks PyTorch."""
    run = Run.open(folder)
    reference = Reference(run.model, run.tokenizer_json, run.info)
    return lambda rows: reference.run_prepared(rows).logits[ICDR], run.info.model.image_spec


@app.command
def make(
    *,
    teachers: Path,
    data: str,
    out: Path,
    recipe: str = "edge",
    only: list[int] | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
) -> None:
    """Make what is missing of the students, their bundles and their answers.

    Args:
        teachers: folder of seed-*/fold-*.
        data: data set as kind:path.
        out: folder for fold-*, fold-*-int8 and their answers.
        recipe: of the students.
        only: these folds alone.
        set_: override a key of the recipe as key=value; may be repeated.
    """
    by_id = {sample.id: sample for sample in load_samples([data])}
    for fold in only or range(FOLDS):
        own = teachers_of(teachers, fold)
        student, bundle = out / f"fold-{fold}", out / f"fold-{fold}-int8"
        if not (student / RUN_FILE).exists():
            again = ["--resume"] if student.exists() else []
            asked_for = [part for each in set_ or [] for part in ("--set", each)]
            command = [*FOVEAL, "distill", *map(str, own), "--recipe", recipe, "--data", data, "--out", str(student)]
            subprocess.run([*command, "--answers", str(out / "answers"), *asked_for, *again], check=True)
        if not bundle.exists():
            subprocess.run([*FOVEAL, "export", str(student), "--precision", "int8", "--out", str(bundle)], check=True)
        held_out = [by_id[name] for name in json.loads((own[0] / SPLIT_FILE).read_text(encoding="utf-8"))["test"]]
        assert {sample.id for sample in held_out} <= set(json.loads((student / SPLIT_FILE).read_text(encoding="utf-8"))["test"])
        for (ask, spec), name in ((of_run(student), "fp32"), (of_engine(bundle), "int8")):
            if not (path := out / f"fold-{fold}-{name}.npz").exists():
                asked(ask, held_out, spec).save(path)


def ensemble(folders: Sequence[Path]) -> Answers:
    """The mean of several trainings' probabilities, as logits."""
    parts = [Answers.load(folder / "held_out.npz") for folder in folders]
    assert all(part.ids == parts[0].ids for part in parts)
    plain, camera = (
        np.log(np.mean([softmax(getattr(part, f"{kind}_NG")) for part in parts], axis=0) + 1e-30)
        for kind in ("plain", "camera")
    )
    return replace(parts[0], plain_NG=plain, camera_NG=camera)


def compared(sides: dict[str, Answers], owners: Sequence[str], seed: int) -> dict[str, Any]:
    """Figures of each side, and of the INT8 student over the teachers, photographs of an eye resampled together."""
    resamples = resample(list(owners), count=BOOTSTRAP, seed=seed)
    found: dict[str, Any] = {"photographs": len(owners), "groups": resamples.patients}
    for kind in ("plain", "camera"):
        whole, many = {}, {}
        for name, answers in sides.items():
            logits = getattr(answers, f"{kind}_NG")
            whole[name], many[name] = (replicates_of(logits, answers.labels_N, drawn) for drawn in (None, resamples))
        found[kind] = {
            name: {
                figure: {"value": float(value.item()), "interval": np.nanquantile(many[name][figure], (0.025, 0.975)).tolist()}
                for figure, value in whole[name].items()
            }
            for name in sides
        }
        found[kind]["kappa of the INT8 student over the teachers'"] = {
            "value": float((whole[INT8]["kappa"] / whole[TEACHERS]["kappa"]).item()),
            "interval": np.nanquantile(many[INT8]["kappa"] / many[TEACHERS]["kappa"], (0.025, 0.975)).tolist(),
        }
    return found


def times(teacher: Path, student: Path) -> dict[str, float]:
    """Milliseconds a photograph of one FP32 teacher and of the INT8 student on one core, the least of paired rounds."""
    sides = {"FP32 teacher": of_engine(teacher), "INT8 student": of_engine(student)}
    rng = np.random.default_rng(0)
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_ROUNDS):
        for name, (ask, spec) in sides.items():
            picture = Image.fromarray(rng.integers(0, 255, (spec.side_px, spec.side_px, 3), np.uint8))
            rows = [prepared(picture, spec)] * _TIMED
            started = time.perf_counter()
            ask(rows)
            took[name].append((time.perf_counter() - started) / _TIMED * 1e3)
    return {name: min(each) for name, each in took.items()}


@app.command
def judge(
    *,
    teachers: Path,
    data: str,
    out: Path,
    seed: int = 0,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compare the students that are finished with their teachers.

    Args:
        teachers: folder of seed-*/fold-*, with groups.json where folds are grouped.
        data: data set as kind:path.
        out: folder that `make` wrote.
        seed: of the bootstrap.
        json_: write the figures to this file.
    """
    folds = [fold for fold in range(FOLDS) if (out / f"fold-{fold}-int8.npz").exists()]
    own = {fold: teachers_of(teachers, fold) for fold in folds}
    sides = {
        TEACHERS: Answers.together([ensemble(own[fold]) for fold in folds]),
        FP32: Answers.together([Answers.load(out / f"fold-{fold}-fp32.npz") for fold in folds]),
        INT8: Answers.together([Answers.load(out / f"fold-{fold}-int8.npz") for fold in folds]),
    }
    assert len({answers.ids for answers in sides.values()}) == 1
    groups = json.loads((teachers / "groups.json").read_text(encoding="utf-8"))["groups"]
    found: dict[str, Any] = {
        "protocol": f"folds {folds}, students of {[len(own[fold]) for fold in folds]} teachers that left the same fold out",
        **compared(sides, [groups[name] for name in sides[TEACHERS].ids], seed),
        "given_back": [given_back(out / f"fold-{fold}-int8") for fold in folds],
    }
    exact = out / "teacher-fp32"
    if not exact.exists():
        subprocess.run([*FOVEAL, "export", str(own[folds[0]][0]), "--precision", "fp32", "--out", str(exact)], check=True)
    found["milliseconds"] = times(exact, out / f"fold-{folds[0]}-int8")
    found["share_of_the_ensembles_time"] = found["milliseconds"]["INT8 student"] / (
        len(own[folds[0]]) * found["milliseconds"]["FP32 teacher"]
    )
    if json_ is not None:
        write_json(json_, found)
    print(json.dumps(found, indent=1))


def given_back(bundle: Path) -> list[str]:
    """Blocks that the export of a bundle computes in FP32 after all."""
    found: list[str] = json.loads((bundle / "parity.json").read_text(encoding="utf-8"))["given_back"]
    return found


if __name__ == "__main__":
    app()
