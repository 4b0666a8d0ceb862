"""The baselines that are no run of ours: the majority class, a plain ViT, CLIP as published and fine-tuned (section IV-A3).

The majority class belongs beside every accuracy: 93.8 % of BRSET has grade 0. CLIP grades by prompts as published, and after
fine-tuning by a linear probe (logistic regression on its image vectors): the paper does not say how its CLIP graded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.imaging import ImageSpec
from foveal_runtime.study.labels import MISSING, SCHEMES, Head
from foveal_runtime.study.record import FeatureStats
from foveal_runtime.study.study import Modality
from foveal_train.data import Sample, Split
from foveal_train.paper import clip as clips
from foveal_train.paper import vision
from foveal_train.paper.clip import Clip, Vectors
from foveal_train.paper.parameters import count
from foveal_train.paper.rows import cost_of, device, grading_of, retrieval_of
from foveal_train.training.arrays import Skipped, StudyArrays, load_arrays
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.recipe import Method, Recipe

Grades = npt.NDArray[np.int64]
_PAIR = (Modality.IMAGE, Modality.TEXT)


def baseline_row(
    recipe: Recipe,
    split: Split,
    unseen: Sequence[Sample] | None,
    *,
    weights: Path | None = None,
    decoded: DecodedPhotographs | None = None,
    skipped: Skipped | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The row of a baseline.

    Args:
        recipe: whose method is a baseline.
        split: of the sweep's data.
        unseen: studies of another data set, for retrieval; None leaves it out.
        weights: file for CLIP as it was fine-tuned; None keeps it nowhere.
        decoded: photographs that other rows decode as well.
        skipped: told of each photograph that can't be decoded and is left out; None refuses them.
        say: told what it does.

    Raises:
        ConfigError: CLIP can't be had.
        DataError: photographs can't be decoded.
    """
    if recipe.method is Method.MAJORITY:
        return _majority_row(split)
    if recipe.method is Method.VISION_ONLY:
        return _vision_row(recipe, split, decoded, skipped, say)
    say("loading CLIP")
    clip = clips.load_clip(recipe.clip)
    fine_tuned = recipe.method is Method.CLIP_FINE_TUNED

    def arrays_of(samples: Sequence[Sample]) -> StudyArrays:
        say(f"decoding {len(samples)} photographs")
        return _arrays(clip, recipe, samples, decoded, skipped)

    held_out, notes, train = arrays_of(split.test or split.validation), [], None
    if fine_tuned:
        train = arrays_of(split.train)
        validation = arrays_of(split.validation)
        epoch = clips.fine_tune(clip, recipe, train, validation, report=lambda done: say(f"fine-tuned {done} epochs"))
        notes.append(f"kept epoch {epoch}; graded by a linear probe on the image vectors")
        if weights is not None:
            clips.save_weights(clip, weights)
    else:
        notes.append(f"graded by the prompt {recipe.clip.prompt!r}")
    say("measuring")
    images_NE = clips.embed_images(clip, held_out)
    shown = held_out.rows(Modality.IMAGE)
    graded = replace(held_out, labels={head: np.where(shown, labels, MISSING) for head, labels in held_out.labels.items()})
    if train is not None:
        known = clips.embed_images(clip, train)
        answers = {head: _probe(known, train, images_NE, head) for head in SCHEMES if _grades(train, head).size}
    else:
        answers = {head: clips.grade_by_prompts(clip, images_NE, head, recipe.clip.prompt) for head in SCHEMES}
    elsewhere = None
    if unseen:
        other = arrays_of(unseen)
        elsewhere = retrieval_of(clips.embed_images(clip, other), clips.embed_notes(clip, other), other)
    return {
        "studies": len(held_out),
        "retrieval": retrieval_of(images_NE, clips.embed_notes(clip, held_out), held_out),
        "grading": grading_of(answers, graded),
        "unseen": elsewhere,
        "cost": {
            "parameters": clip.parameters,
            "trained": clip.parameters if fine_tuned else 0,
            **cost_of(_one_study(clip, held_out)),
        },
        "notes": notes,
    }


def fine_tuned_unseen(
    recipe: Recipe,
    weights: Path,
    unseen: Sequence[Sample],
    *,
    decoded: DecodedPhotographs | None = None,
    skipped: Skipped | None = None,
) -> dict[str, Any]:
    """Retrieval on another data set by a CLIP that was fine-tuned before.

    Args:
        recipe: whose CLIP it is.
        weights: the file that `baseline_row` wrote.
        unseen: studies of the other data set.
        decoded: photographs that other rows decode as well.
        skipped: told of each photograph that can't be decoded and is left out; None refuses them.

    Raises:
        ConfigError: CLIP can't be had, or the file does not fit it.
        DataError: photographs can't be decoded.
    """
    clip = clips.load_clip(recipe.clip)
    clips.load_weights(clip, weights)
    arrays = _arrays(clip, recipe, unseen, decoded, skipped)
    return retrieval_of(clips.embed_images(clip, arrays), clips.embed_notes(clip, arrays), arrays)


def _arrays(
    clip: Clip, recipe: Recipe, samples: Sequence[Sample], decoded: DecodedPhotographs | None, skipped: Skipped | None
) -> StudyArrays:
    return load_arrays(
        samples,
        image_spec=clip.image_spec,
        tokenise=clip.tokenise,
        features=FeatureStats(),
        modalities=_PAIR,
        keep_empty_notes=recipe.keep_empty_notes,
        decoded=decoded,
        skipped=skipped,
    )


def _vision_row(
    recipe: Recipe,
    split: Split,
    decoded: DecodedPhotographs | None,
    skipped: Skipped | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    def arrays_of(samples: Sequence[Sample]) -> StudyArrays:
        say(f"decoding {len(samples)} photographs")
        return load_arrays(
            samples,
            image_spec=recipe.model.image_spec,
            tokenise=None,
            features=FeatureStats(),
            modalities=(Modality.IMAGE,),
            decoded=decoded,
            skipped=skipped,
        )

    train, validation = arrays_of(split.train), arrays_of(split.validation)
    heads = tuple(head for head in SCHEMES if _grades(train, head).size)
    say("loading weights")
    model = vision.build(recipe, heads)
    epoch = vision.fit(model, recipe, train, validation, report=lambda done: say(f"trained {done} epochs"))
    held_out = arrays_of(split.test or split.validation)
    say("measuring")
    shown = held_out.rows(Modality.IMAGE)
    graded = replace(held_out, labels={head: np.where(shown, labels, MISSING) for head, labels in held_out.labels.items()})
    one = np.flatnonzero(shown)[:1]
    pixels = held_out.inputs(one).pixels_BCHW if len(one) else None
    counted = count(model)
    return {
        "studies": len(held_out),
        "retrieval": {"independent": None, "joint": None},
        "grading": grading_of(vision.grades(model, held_out), graded),
        "unseen": None,
        "cost": {
            "parameters": counted.total,
            "trained": counted.trained,
            **cost_of(None if pixels is None else lambda: model(pixels.to(device()))),
        },
        "notes": [f"kept epoch {epoch}"],
    }


def _one_study(clip: Clip, arrays: StudyArrays) -> Callable[[], object] | None:
    """What is timed: a photograph and a note, each encoded once; None where no study has both."""
    rows = np.flatnonzero(arrays.has(frozenset(_PAIR)))[:1]
    if not len(rows):
        return None
    one = replace(
        arrays,
        ids=tuple(arrays.ids[row] for row in rows),
        squares_NSSC=arrays.squares_NSSC[rows],
        notes=tuple(arrays.notes[row] for row in rows),
        present_NM=arrays.present_NM[rows],
        note_groups_N=arrays.note_groups_N[rows],
    )
    return lambda: (clips.embed_images(clip, one), clips.embed_notes(clip, one))


def _grades(arrays: StudyArrays, head: Head) -> Grades:
    labels = arrays.labels[head][arrays.rows(Modality.IMAGE)]
    return np.unique(labels[labels != MISSING])


def _probe(known_NE: Vectors, train: StudyArrays, images_NE: Vectors, head: Head) -> Grades:
    """Grades by logistic regression on image vectors; the one grade there is when training shows only one."""
    grades = _grades(train, head)
    if grades.size == 1:
        return np.full(len(images_NE), grades[0], np.int64)
    from sklearn.linear_model import LogisticRegression

    rows = train.rows(Modality.IMAGE) & (train.labels[head] != MISSING)
    # Unit vectors differ little in each coordinate: sklearn's own C of 1 would answer the majority throughout.
    probe = LogisticRegression(C=100.0, max_iter=1000).fit(known_NE[rows], train.labels[head][rows])
    return np.asarray(probe.predict(images_NE), np.int64)


def majority_grade(samples: Sequence[Sample], head: Head) -> int | None:
    """The commonest grade, the lower one of two; None without labels."""
    grades = [grade for sample in samples if (grade := getattr(sample.labels, head)) is not None]
    return int(np.bincount(grades).argmax()) if grades else None


def _majority_row(split: Split) -> dict[str, Any]:
    samples = split.test or split.validation
    if not samples:
        raise ConfigError("the split has no held-out studies to judge on; raise split.test")
    answers, labels = {}, {}
    for head in SCHEMES:
        grade = majority_grade(split.train, head)
        if grade is not None:
            answers[head] = np.full(len(samples), grade, np.int64)
        known = [getattr(sample.labels, head) for sample in samples]
        labels[head] = np.asarray([MISSING if grade is None else grade for grade in known], np.int64)
    # Labels are all that is read: no photograph is decoded for a constant answer.
    arrays = StudyArrays(
        ids=tuple(sample.id for sample in samples),
        squares_NSSC=np.zeros((len(samples), 1, 1, 3), np.uint8),
        notes=(),
        features_NF=np.zeros((len(samples), 0), np.float32),
        present_NM=np.zeros((len(samples), len(Modality)), bool),
        labels=labels,
        note_groups_N=np.zeros(len(samples), np.int64),
        image_spec=ImageSpec(),
        samples=tuple(samples),
    )
    return {
        "studies": len(samples),
        "retrieval": {"independent": None, "joint": None},
        "grading": grading_of(answers, arrays),
        "unseen": None,
        "cost": {"parameters": 0, "trained": 0, **cost_of(None)},
        "notes": [f"answers {head.upper()} grade {answer[0]} throughout" for head, answer in answers.items()],
    }
