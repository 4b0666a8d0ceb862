"""A row of a sweep: what one recipe reached on the test split, in one form for every method. Trains and prints nothing.

A row is a JSON document: `recipe`, `method`, `studies`, `patients`, `retrieval` {protocol: {`queries`, `gallery`, `recall`
{K: figure}, `ceiling` {K: float}} | None} from text to image, `grading` {head: `grade_figures`}, `unseen` (retrieval of
another data set, or None), `cost` {`parameters`, `trained`, `ms`, `device`, `gpu_bytes`}, `notes` [sentence]. A figure is
evaluation's: value, 95 % interval over patients, n.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foveal_runtime.study.labels import MISSING, Head
from foveal_runtime.study.record import encode_record
from foveal_runtime.study.study import Modality, Record
from foveal_train.data import Sample
from foveal_train.evaluation.grading import grade_figures
from foveal_train.evaluation.intervals import Resamples, resample
from foveal_train.evaluation.retrieval import direction_figures
from foveal_train.training.arrays import Skipped, StudyArrays, load_arrays
from foveal_train.training.decoded import DecodedPhotographs

BOOTSTRAP = 1000
_TIMED = 5


def retrieval_of(images_ND: npt.NDArray[np.float32], notes_ND: npt.NDArray[np.float32], arrays: StudyArrays) -> dict[str, Any]:
    """Text-to-image retrieval of a method that encodes each side alone; the joint protocol is not its own."""
    drawn = drawn_of(arrays)
    pairs = np.flatnonzero(arrays.has(frozenset({Modality.IMAGE, Modality.TEXT})))
    if np.unique(arrays.note_groups_N[pairs]).size < 2:
        return {"independent": None, "joint": None}
    found = direction_figures(
        notes_ND,
        images_ND,
        queries=pairs,
        gallery=np.flatnonzero(arrays.rows(Modality.IMAGE)),
        note_groups_N=arrays.note_groups_N,
        labels=[],
        resamples=drawn,
    )
    return {"independent": _strict(found), "joint": None}


def retrieval_in(metrics: dict[str, Any]) -> dict[str, Any]:
    """Text-to-image retrieval of a run, from its metrics."""
    protocols = metrics["retrieval"] or {}
    shown = {name: protocols.get(name) for name in ("independent", "joint")}
    return {name: None if one is None else _strict(one["text_to_image"]) for name, one in shown.items()}


def _strict(found: dict[str, Any]) -> dict[str, Any]:
    strict = found["strict"]
    counts = {key: found[key] for key in ("queries", "gallery", "distinct_notes")}
    return {**counts, "recall": strict["recall"], "ceiling": strict["ceiling"]}


def grading_in(metrics: dict[str, Any]) -> dict[str, Any]:
    """Grading of a run on everything that its studies have, from its metrics."""
    full = metrics["grading"].get("full", {"heads": {}})
    return {head: _short(figures) for head, figures in full["heads"].items()}


def grading_of(answers: dict[Head, npt.NDArray[np.int64]], arrays: StudyArrays) -> dict[str, Any]:
    """Figures of the answered grades, an answer for every study of `arrays`."""
    drawn, found = drawn_of(arrays), {}
    for head, answer_N in answers.items():
        rows = np.flatnonzero(arrays.labels[head] != MISSING)
        if len(rows):
            found[head] = _short(grade_figures(arrays.labels[head][rows], answer_N[rows], drawn.at(rows)))
    return found


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: figures[key] for key in ("n", "majority", "accuracy", "balanced_accuracy", "kappa")}


def drawn_of(arrays: StudyArrays) -> Resamples:
    """Bootstrap replicates over the patients of `arrays`."""
    return resample([sample.patient_id for sample in arrays.samples], count=BOOTSTRAP, seed=0)


def as_the_paper_reads_it(
    samples: Sequence[Sample],
    run: Any,
    recipe: Any,
    tokenise: Any,
    *,
    decoded: DecodedPhotographs | None = None,
    skipped: Skipped | None = None,
) -> tuple[StudyArrays, list[str]]:
    """Another data set's studies as a run of the paper's recipes can read them, and what had to be made up for it.

    DeepEyeNet has no records, yet the paper's model knows only studies of all three modalities: it is shown the imputed
    record of a patient of whom nothing is known.
    """
    arrays = load_arrays(
        samples,
        image_spec=run.info.model.image_spec,
        tokenise=tokenise,
        features=run.info.features,
        modalities=recipe.modalities,
        keep_empty_notes=recipe.keep_empty_notes,
        decoded=decoded,
        skipped=skipped,
    )
    if not (recipe.keep_empty_notes and Modality.STRUCTURED in recipe.modalities) or arrays.rows(Modality.STRUCTURED).any():
        return arrays, []
    arrays.present_NM[:, list(Modality).index(Modality.STRUCTURED)] = True
    arrays.features_NF[:] = encode_record(Record(), run.info.features).features_F
    return arrays, ["the unseen data set has no records; every study was shown the imputed record of an unknown patient"]


def device() -> torch.device:
    """Where rows are timed."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cost_of(call: Callable[[], object] | None) -> dict[str, Any]:
    """What one study takes: `ms` (median after one call that warms up), `gpu_bytes` at most (None without a GPU), `device`."""
    gpu = device().type == "cuda"
    name = torch.cuda.get_device_name() if gpu else f"CPU ({platform.machine()}, threads: {torch.get_num_threads()})"
    if call is None:
        return {"ms": None, "gpu_bytes": None, "device": name}
    times = []
    with torch.inference_mode():
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(1 + _TIMED):
            start = time.perf_counter()
            call()
            if gpu:
                torch.cuda.synchronize()
            times.append(1000 * (time.perf_counter() - start))
    return {
        "ms": statistics.median(times[1:]),
        "gpu_bytes": torch.cuda.max_memory_allocated() if gpu else None,
        "device": name,
    }
