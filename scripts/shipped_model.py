"""Make models/edge: the `edge` recipe trained on IDRiD without the example photographs, exported to INT8, with its card.

    python scripts/shipped_model.py PATH_OF_IDRID --work runs/shipped

Trains (about half an hour of two cores without bfloat16), exports with the default budget, and replaces models/edge. What
exists in --work is not made again. `--only train` stops after the first step.
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
FOVEAL = (sys.executable, "-m", "foveal_runtime.cli.main")


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idrid", type=Path, help="folder that holds 'B. Disease Grading', or that part itself")
    parser.add_argument("--work", type=Path, required=True, help="folder of the run and of what is made on the way")
    parser.add_argument("--only", choices=("train",), help="stop after this step")
    given = parser.parse_args()
    root: Path = given.idrid
    base = next((part for part in (root / "B. Disease Grading", root) if (part / LABELS).is_file()), None)
    if base is None:
        parser.error(f"{root} holds no '{LABELS}'; give the folder that contains 'B. Disease Grading'")
    data, run = given.work / "idrid", given.work / "run"
    if not data.exists():
        select(base, data)
    if not (run / "run.json").exists():
        resume = ("--resume",) if run.exists() else ()
        subprocess.run(
            [*FOVEAL, "train", "--recipe", "edge", "--data", f"idrid:{data}", "--out", str(run), *resume], check=True
        )
    if given.only == "train":
        return 0
    out = ("--out", str(TARGET), "--about", str(ABOUT))
    subprocess.run([*FOVEAL, "export", str(run), "--precision", "int8", *out, "--force"], check=True)
    TARGET.with_name(TARGET.name + ".parity.html").unlink()
    return 0


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
