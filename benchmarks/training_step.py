"""CPU seconds and wall seconds of a training step, by this checkout and by another one, in turns of one run.

    git worktree add /tmp/before COMMIT
    python benchmarks/training_step.py --before /tmp/before --recipe edge --studies 48 --turns 3 --json FILE

Each turn trains one epoch of the recipe's image side on generated squares, in a process of its own; nothing is decoded or
written. `--beside` keeps one core busy with another process meanwhile. Ratios within one run are what counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

_EPOCH = """
import json, sys, time
import numpy as np, torch
from foveal_runtime.study.labels import ICDR, SDRG
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample
from foveal_train.model.weights import build_model
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer
recipe = load_recipe(sys.argv[1], ("optimiser.epochs=2", "image.weights=random", "text.weights=random"))
count, side, rng = int(sys.argv[2]), recipe.model.image_spec.side_px, np.random.default_rng(0)
present = np.zeros((count, 3), bool); present[:, 0] = True
squares = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
arrays = StudyArrays(ids=tuple(map(str, range(count))), squares_NSSC=squares,
    notes=tuple(np.asarray([101, 102]) for _ in range(count)), features_NF=np.zeros((count, 6), np.float32), present_NM=present,
    labels={ICDR: rng.integers(0, 5, count), SDRG: np.full(count, -1)}, note_groups_N=np.arange(count),
    image_spec=recipe.model.image_spec,
    samples=tuple(Sample(id=str(i), patient_id=str(i), image_path=None) for i in range(count)))
trainer = Trainer(build_model(recipe.model, seed=0).model, recipe, Studies(train=arrays), (ICDR,))
trainer.epoch()
wall, cpu = time.perf_counter(), time.process_time()
trainer.epoch()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall_ms": 1000 * wall / trainer.steps, "cpu_ms": 1000 * cpu / trainer.steps}))
"""


def epoch(checkout: Path, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step, the first epoch left out."""
    rooms = ":".join(str(checkout / room) for room in ("runtime", "train", "export"))
    env = {**os.environ, "PYTHONPATH": rooms, "OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    words = [sys.executable, "-c", _EPOCH, args.recipe, str(args.studies)]
    found: dict[str, float] = json.loads(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)
    return found


def _spin() -> None:
    while True:
        pass


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Both checkouts in turns."""
    sides = {"before": args.before, "now": Path(__file__).resolve().parents[1]}
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    other = multiprocessing.Process(target=_spin, daemon=True) if args.beside else None
    if other is not None:
        other.start()
    try:
        for turn in range(args.turns):
            for side in sides if turn % 2 == 0 else reversed(sides):
                found[side].append(epoch(sides[side], args))
                print(side, found[side][-1], file=sys.stderr)
    finally:
        if other is not None:
            other.terminate()
    median = {
        key: {side: statistics.median(each[key] for each in steps) for side, steps in found.items()}
        for key in ("wall_ms", "cpu_ms")
    }
    ratios = {key: round(each["now"] / each["before"], 3) for key, each in median.items()}
    return {"recipe": args.recipe, "threads": args.threads, "beside": args.beside, "median": median, "now_over_before": ratios}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--recipe", default="edge")
    parser.add_argument("--studies", type=int, default=48)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    document = measure(args)
    if args.json is not None:
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
