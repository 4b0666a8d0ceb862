"""Make models/edge: a student of three trainings of the `edge` recipe on IDRiD without the example photographs, in INT8.

    python scripts/shipped_model.py PATH_OF_IDRID --work runs/shipped

Trains three teachers that share a split and differ in their seed, distils a student of them whose last epochs round as INT8
does, exports it with the default budget, and replaces models/edge. What exists in --work is not made again, and what was cut
off goes on. `--only teachers` and `--only student` stop after that step; `--seed` trains one teacher alone, so that two calls
share the work.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

from example_photographs import IMAGES, LEFT_OUT, ROOT

TARGET = ROOT / "models" / "edge"
ABOUT = ROOT / "models" / "ABOUT.md"
LABELS = Path("2. Groundtruths") / "a. IDRiD_Disease Grading_Training Labels.csv"
SEEDS = (0, 1, 2)
STUDENT = ("--set", "quantisation.epochs=6")
"""What the student's recipe has besides."""
FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idrid", type=Path, help="folder that holds 'B. Disease Grading', or that part itself")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run and of what is made on the way")
    parser.add_argument("--only", choices=("teachers", "student"), help="stop after this step")
    parser.add_argument("--seed", type=int, choices=SEEDS, help="train this teacher alone, and stop")
    given = parser.parse_args()
    root: Path = given.idrid
    base = next((part for part in (root / "B. Disease Grading", root) if (part / LABELS).is_file()), None)
    if base is None:
        parser.error(f"{root} holds no '{LABELS}'; give the folder that contains 'B. Disease Grading'")
    data = given.work / "idrid"
    if not data.exists():
        select(base, data)
    spec = ("--recipe", "edge", "--data", f"idrid:{data}", "--set", "split.seed=0")
    teachers = [given.work / f"teacher-{seed}" for seed in SEEDS]
    for seed, teacher in zip(SEEDS, teachers, strict=True):
        if given.seed in (None, seed):
            finish(teacher, "train", *spec, "--set", f"seed={seed}")
    if given.seed is not None or given.only == "teachers":
        return 0
    student = given.work / "student"
    finish(student, "distill", *map(str, teachers), *spec, *STUDENT)
    if given.only == "student":
        return 0
    out = ("--out", str(TARGET), "--about", str(ABOUT))
    subprocess.run([*FOVEAL, "export", str(student), "--precision", "int8", *out, "--force"], check=True)
    TARGET.with_name(TARGET.name + ".parity.html").unlink()
    return 0


def finish(run: Path, *command: str) -> None:
    """Make a run, or go on with one that was cut off."""
    if not (run / "run.json").exists():
        resume = ("--resume",) if run.exists() else ()
        subprocess.run([*FOVEAL, *command, "--out", str(run), *resume], check=True)


def select(base: Path, target: Path) -> None:
    """The data set without `LEFT_OUT`, in its own layout; photographs are links."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / IMAGES).mkdir(parents=True)
    (partial / LABELS).parent.mkdir(parents=True)
    with (
        (base / LABELS).open(encoding="utf-8", newline="") as source,
        (partial / LABELS).open("w", encoding="utf-8", newline="") as kept,
    ):
        rows = csv.reader(source)
        writer = csv.writer(kept, lineterminator="\n")
        writer.writerow(next(rows))
        for row in rows:
            image = base / IMAGES / f"{row[0]}.jpg"
            if row[0] not in LEFT_OUT and image.is_file():
                writer.writerow(row)
                (partial / IMAGES / image.name).symlink_to(image.resolve())
    partial.rename(target)


if __name__ == "__main__":
    raise SystemExit(main())
