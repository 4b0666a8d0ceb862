"""The studies of a run, decoded, and what they can teach: heads, modality subsets, aligned modalities. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal_runtime.study.labels import MISSING, SCHEMES, Head
from foveal_runtime.study.notes import NoteTokeniser
from foveal_runtime.study.record import FeatureStats, fit_stats
from foveal_runtime.study.study import ALL_SUBSETS, Modality, Subset
from foveal_train.data import Sample, Split
from foveal_train.data.split import PARTS
from foveal_train.model.weights import BuiltModel
from foveal_train.runs.reporter import Reporter
from foveal_train.training.arrays import Skipped, StudyArrays, load_arrays
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.recipe import Alignment, Recipe

MIN_SUBSET_STUDIES = 8
"""Training studies a modality subset needs before it counts as trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Data of a run, decoded."""

    train: StudyArrays
    validation: StudyArrays
    test: StudyArrays
    taught: StudyArrays
    """What a student learns from: the training studies, and behind them photographs without labels; else `train` itself."""
    features: FeatureStats
    tokenise: NoteTokeniser


def trained_heads(train: StudyArrays, heads: Iterable[Head] = SCHEMES) -> tuple[Head, ...]:
    """Heads of a model whose labels show at least two classes in the training studies."""
    return tuple(head for head in heads if len(set(train.labels[head].tolist()) - {MISSING}) >= 2)


def trained_subsets(train: StudyArrays, recipe: Recipe) -> tuple[Subset, ...]:
    """Modality subsets that enough training studies show, as they are, by dropout or in a pass of their own."""
    shown = [frozenset(m for i, m in enumerate(Modality) if row[i]) for row in train.present_NM]
    subsets = []
    for subset in ALL_SUBSETS:
        if recipe.modality_dropout > 0 or (len(subset) == 1 and recipe.alignment is Alignment.INDEPENDENT):
            count = sum(subset <= has for has in shown)
        else:
            count = sum(subset == has for has in shown)
        if count >= MIN_SUBSET_STUDIES:
            subsets.append(subset)
    return tuple(subsets)


def aligned_modalities(train: StudyArrays, recipe: Recipe) -> tuple[Modality, ...]:
    """Modalities whose single vectors the contrastive losses made comparable."""
    present = [m for m in Modality if train.rows(m).sum() >= MIN_SUBSET_STUDIES]
    losses = recipe.losses
    pairs = {
        (Modality.IMAGE, Modality.TEXT): losses.image_text,
        (Modality.IMAGE, Modality.STRUCTURED): losses.image_structured,
        (Modality.TEXT, Modality.STRUCTURED): losses.text_structured,
    }
    linked = {m for pair, weight in pairs.items() if weight > 0 and all(p in present for p in pair) for m in pair}
    return tuple(m for m in Modality if m in linked) if recipe.alignment is Alignment.INDEPENDENT else ()


def prepare(
    split: Split,
    built: BuiltModel,
    recipe: Recipe,
    *,
    cache: Path | None,
    reporter: Reporter,
    unlabelled: Sequence[Sample] = (),
    decoded: DecodedPhotographs | None = None,
    skipped: Skipped | None = None,
) -> Prepared:
    """Decode every part of a split; statistics come from the training part alone.

    Args:
        split: the studies.
        built: whose tokenizer reads the notes.
        recipe: how photographs and records are read.
        cache: folder for the decoded photographs; None keeps them in memory.
        reporter: told how it gets on.
        unlabelled: photographs that a student learns from besides.
        decoded: photographs that other runs decode as well.
        skipped: told of each photograph that can't be decoded and is left out; None refuses them.

    Raises:
        DataError: photographs can't be decoded, unless `skipped` is told and they are left out.
    """
    features = fit_stats((s.record for s in split.train if s.record is not None), recipe.model.record_spec)
    tokenise = NoteTokeniser(built.tokenizer_json, recipe.model.text_spec)
    parts: dict[str, StudyArrays] = {}
    wanted = {name: tuple(getattr(split, name)) for name in PARTS}
    wanted["train"] += tuple(unlabelled)
    total = sum(len(samples) for samples in wanted.values())
    before = 0
    for name, samples in wanted.items():

        def report(done: int, _: int, before: int = before) -> None:
            reporter.progress(before + done, total)

        parts[name] = load_arrays(
            samples,
            image_spec=recipe.model.image_spec,
            tokenise=tokenise,
            features=features,
            modalities=recipe.modalities,
            heads=recipe.model.head_classes,
            keep_empty_notes=recipe.keep_empty_notes,
            cache=cache / f"{name}.npy" if cache is not None and samples else None,
            decoded=decoded,
            skipped=skipped,
            progress=report,
        )
        before += len(samples)
    taught, labelled = parts["train"], {sample.id for sample in split.train}
    count = sum(sample.id in labelled for sample in taught.samples)
    parts["train"] = taught if count == len(taught) else taught.part(slice(count))
    return Prepared(**parts, taught=_photographs_alone(taught, count), features=features, tokenise=tokenise)


def _photographs_alone(arrays: StudyArrays, count: int) -> StudyArrays:
    """The arrays, of whose rows from `count` on nothing but the photograph is shown, even where empty notes count as text."""
    if count == len(arrays):
        return arrays
    present_NM = arrays.present_NM.copy()
    present_NM[count:] &= np.asarray([modality is Modality.IMAGE for modality in Modality])
    return replace(arrays, present_NM=present_NM)
