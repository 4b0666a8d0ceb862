"""The split of a student: what its teachers held out stays held out. Asks no teacher.

A teacher that has learnt from a study tells its student about it, so a student's figures are held out only where no teacher
trained. Parts go by the teachers' own splits, over patients as a split does; where teachers differ on what is training and what
validation, it is training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from foveal_runtime.errors import ConfigError, ImageError
from foveal_runtime.photo.imaging import ImageSpec, decode
from foveal_train.data import Sample, Split, patient_groups
from foveal_train.data.duplicates import content_hash
from foveal_train.data.near import Bits, near_some, perceptual_hash
from foveal_train.data.split import PARTS
from foveal_train.runs.samples import split_samples
from foveal_train.training.recipe import Recipe

TRAIN, VALIDATION, TEST = PARTS
_THREADS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Inherited:
    """A student's split, and what its teachers know of the studies that it is judged on."""

    split: Split
    learnt_test: int = 0
    """Test studies that some teacher has learnt from: figures on them are not held out."""
    learnt_validation: int = 0
    """Validation studies that some teacher has learnt from: temperatures and thresholds are fitted on them."""
    strange: int = 0
    """Studies that no teacher names: whether one has learnt from them under other names can't be told."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the run's figures has to know."""
        found = []
        if self.learnt_test:
            found.append(
                f"figures are NOT held out: teachers have learnt from {self.learnt_test} of the {len(self.split.test)} test "
                "studies"
            )
        if self.learnt_validation:
            found.append(
                f"teachers have learnt from {self.learnt_validation} of the {len(self.split.validation)} validation studies: "
                "temperatures and thresholds fitted on them are surer than they should be"
            )
        if self.strange:
            found.append(
                f"no teacher's split names {self.strange} of the studies; if one learnt from them under other names, figures "
                "are not held out"
            )
        return tuple(found)


def inherit(
    samples: Sequence[Sample], recipe: Recipe, splits: Mapping[Path, Mapping[str, Sequence[str]]], *, not_held_out: bool
) -> Inherited:
    """Split the student's studies as its teachers did.

    Args:
        samples: of the student.
        recipe: splits what no teacher knows.
        splits: sample ids by part of every teacher, by its folder.
        not_held_out: go on where a teacher has learnt from what another one held out.

    Raises:
        ConfigError: it has, and `not_held_out` is False.
        DataError: see `split_patients`.
    """
    group_of = patient_groups(samples)
    votes: dict[str, dict[Path, set[str]]] = defaultdict(lambda: defaultdict(set))
    named: set[str] = set()
    for path, ids in splits.items():
        part_of = {name: part for part in PARTS for name in ids.get(part, ())}
        for sample in samples:
            if sample.id in part_of:
                votes[group_of[sample.patient_id]][path].add(part_of[sample.id])
                named.add(sample.id)
    if not votes:
        return Inherited(split=split_samples(samples, recipe), strange=len(samples))
    parts = {group: _part(set().union(*by_teacher.values())) for group, by_teacher in votes.items()}
    if not any(part == VALIDATION for part in parts.values()):
        # Every teacher left out others: without a validation part of one nothing could be calibrated.
        first = next(iter(splits))
        parts |= {group: VALIDATION for group in parts if parts[group] == TRAIN and votes[group].get(first) == {VALIDATION}}
    rest = [sample for sample in samples if group_of[sample.patient_id] not in parts]
    own = _rest(rest, recipe)

    def part_of_sample(sample: Sample) -> str:
        return parts.get(group_of[sample.patient_id]) or own[sample.id]

    split = Split(**{part: tuple(s for s in samples if part_of_sample(s) == part) for part in PARTS})
    learnt = {group for group, by_teacher in votes.items() if any(TRAIN in each for each in by_teacher.values())}
    learnt_test = sum(group_of[sample.patient_id] in learnt for sample in split.test)
    if learnt_test and not not_held_out:
        names = ", ".join(str(path) for path in splits)
        raise ConfigError(
            f"teachers {names} do not hold out the same studies: of the {len(split.test)} that one of them held out, another "
            f"has learnt from {learnt_test}, so no figure of the student would be held out; name teachers of one split, or go "
            "on with --not-held-out"
        )
    return Inherited(
        split=split,
        learnt_test=learnt_test,
        learnt_validation=sum(group_of[sample.patient_id] in learnt for sample in split.validation),
        strange=sum(sample.id not in named for sample in samples),
    )


def _part(votes: set[str]) -> str:
    """What one teacher held out is never learnt from, whatever the others did."""
    if TEST in votes:
        return TEST
    return VALIDATION if votes == {VALIDATION} else TRAIN


def _rest(samples: Sequence[Sample], recipe: Recipe) -> dict[str, str]:
    """Parts of the studies that no teacher knows; too few to be split are learnt from."""
    least = min(share for share in (recipe.split.train, recipe.split.validation, recipe.split.test) if share > 0)
    if len(set(patient_groups(samples).values())) * least < 1:
        return {sample.id: TRAIN for sample in samples}
    split = split_samples(samples, recipe)
    return {sample.id: part for part in PARTS for sample in getattr(split, part)}


def unlabelled(samples: Sequence[Sample], split: Split) -> tuple[tuple[Sample, ...], int]:
    """Photographs to learn from without their labels, and how many were left out because they are held out.

    Left out are photographs of the validation and test parts, by content and by likeness, so that one that was encoded anew is
    found as well, and those of their patients. Those of the training part are learnt from with their labels already.

    Raises:
        DataError: a photograph can't be read.
    """
    held = (*split.validation, *split.test)
    patients = {sample.patient_id for sample in held}
    withheld, learnt, given = (_seen([each for each in part if each.image_path]) for part in (held, split.train, samples))
    near_held = near_some([each.bits for each in given], [each.bits for each in withheld])
    near_learnt = near_some([each.bits for each in given], [each.bits for each in learnt])
    contents, known = {each.content for each in withheld}, {each.content for each in learnt}
    kept: list[Sample] = []
    left_out = 0
    for number, photograph in enumerate(given):
        sample = photograph.sample
        if photograph.content in contents or near_held[number] or sample.patient_id in patients:
            left_out += 1
        elif photograph.content not in known and not near_learnt[number]:
            known.add(photograph.content)
            # A blank note: that a photograph comes without one is no sign of what it shows.
            blank = Sample(id=f"unlabelled {number}", patient_id=f"unlabelled:{number}", image_path=sample.image_path)
            kept.append(replace(blank, note=" ", note_without_dr=" ", camera=sample.camera, row=sample.row))
    return tuple(kept), left_out


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A photograph, by what can be compared."""

    sample: Sample
    content: str
    bits: Bits | None


def _seen(samples: Sequence[Sample]) -> list[_Seen]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_look, samples))


def _look(sample: Sample) -> _Seen:
    data = sample.image_bytes()
    assert data is not None
    try:
        bits = perceptual_hash(decode(data, ImageSpec()))
    except ImageError:  # whoever trains on it refuses it, or skips it, by name
        bits = None
    return _Seen(sample=sample, content=content_hash(data), bits=bits)
