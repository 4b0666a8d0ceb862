"""How much faster an epoch of `base` becomes when the outputs of its frozen blocks are kept (`optimiser.cache_frozen`).

    foveal data synth OUT --patients 16 --seed 1 --balanced
    python benchmarks/frozen_cache.py --data brset:OUT --json benchmarks/results/frozen_cache.json

Random weights: no figure here depends on what they hold. Augmentation is off in both, since the cache needs that; epochs are
timed without validation and without checkpoints, the cache's own making apart.
"""

from __future__ import annotations

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import torch
from cyclopts import Parameter

from foveal_runtime.study.labels import ICDR
from foveal_train.data import Split
from foveal_train.model.weights import BuiltModel, build_model
from foveal_train.runs.prepared import prepare
from foveal_train.runs.reporter import Silent
from foveal_train.runs.run import write_json
from foveal_train.runs.samples import load_samples
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.frozen import frozen_states
from foveal_train.training.recipe_file import load_recipe
from foveal_train.training.trainer import Studies, Trainer

app = cyclopts.App(help=__doc__)
PLAIN = (
    "image.weights=random",
    "text.weights=random",
    "strip_dr_notes=0",
    *(f"augmentation.{name}=false" for name in ("horizontal_flip", "vertical_flip")),
    *(f"augmentation.{name}=0" for name in ("rotation_degrees", "zoom", "brightness", "contrast", "colour")),
)


@app.default
def main(
    *,
    data: Annotated[list[str], Parameter(consume_multiple=False)],
    studies: int = 32,
    threads: int = 2,
    json_: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Time an epoch with and without the cache.

    Args:
        data: data sets, kind:path.
        studies: how many of their studies an epoch has.
        threads: of PyTorch.
        json_: file for the figures.
    """
    torch.set_num_threads(threads)
    # CPU seconds: on a machine that does other things too, the clock on the wall tells of those.
    found: dict[str, Any] = {"studies": studies, "threads": threads, "profile": "base", "unit": "CPU seconds"}
    with tempfile.TemporaryDirectory() as folder:
        recipe, built, arrays = _ready(data, studies, "false")
        started = time.process_time()
        frozen_states(built.model, arrays, Path(folder) / "once.npy")
        found["cache_s"] = time.process_time() - started
        found["cache_bytes"] = (Path(folder) / "once.npy").stat().st_size
        for name, cached in (("plain_s", "false"), ("cached_s", "true")):
            recipe, built, arrays = _ready(data, studies, cached)
            ends: list[float] = []
            Trainer(built.model, recipe, Studies(train=arrays), (ICDR,), cache=Path(folder) / name).fit(
                epoch_report=partial(_noted, ends)
            )
            found[name] = ends[1] - ends[0]  # the first epoch warms up
    found["times_faster"] = found["plain_s"] / found["cached_s"]
    if json_ is not None:
        write_json(json_, found)
    print(json.dumps(found, indent=1))


def _ready(data: list[str], studies: int, cached: str) -> tuple[Any, BuiltModel, StudyArrays]:
    recipe = load_recipe("base", (*PLAIN, "optimiser.epochs=2", f"optimiser.cache_frozen={cached}"))
    built = build_model(recipe.model, seed=0)
    samples = tuple(load_samples(data)[:studies])
    parts = prepare(Split(train=samples, validation=(), test=()), built, recipe, cache=None, reporter=Silent())
    return recipe, built, parts.train


def _noted(ends: list[float], _row: object) -> None:
    ends.append(time.process_time())


if __name__ == "__main__":
    app()
