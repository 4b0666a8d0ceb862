"""Which studies a run may be judged on: its own test split, or other data without what training and validation saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from foveal_runtime.errors import DataError
from foveal_train.data import Sample
from foveal_train.data.duplicates import content_hash
from foveal_train.runs.run import Run
from foveal_train.runs.samples import load_samples, split_samples
from foveal_train.training.recipe import recipe_from_document

SEEN = ("train", "validation")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Studies to judge a run on."""

    samples: tuple[Sample, ...]
    split: str
    """`test` or `validation` of the run itself, `other` for data named on the command line."""
    seen: int = 0
    """Studies left out, since training or validation saw them or their patients."""
    remarks: tuple[str, ...] = ()
    """What a reader of the figures must know of the choice."""


def own_test(run: Run, *, skip_bad: bool = False) -> HeldOut:
    """The run's test split, or its validation split when it has no test split.

    Raises:
        DataError: the data is gone or changed, or the run kept nothing back.
    """
    name = next((part for part in ("test", "validation") if run.split.get(part)), None)
    if name is None:
        raise DataError(f"run {run.path} kept no study back; name data that it has not seen with --data SPEC")
    by_part = _parts(run, skip_bad=skip_bad)
    missing = len(run.split[name]) - len(by_part[name])
    if missing and not skip_bad:
        raise DataError(
            f"{missing} of {len(run.split[name])} {name} studies of run {run.path} are no longer in "
            f"{', '.join(run.info.data)}; restore them, or name other data with --data SPEC"
        )
    remark = "This run has no test split: calibration was fitted on these very studies, so every figure flatters."
    return HeldOut(samples=tuple(by_part[name]), split=name, remarks=() if name == "test" else (remark,))


def unseen(run: Run, specs: Sequence[str], *, skip_bad: bool = False, keep_seen: bool = False) -> HeldOut:
    """Studies of `specs` whose patients the run has not seen.

    A photograph is recognised by its content, so a copied or renamed data set does not pass as new, and another data set
    with the same file names is not mistaken for a seen one. Where the run's own data is gone, equal ids count as seen.

    Args:
        run: the run to judge.
        specs: data sets, `kind:path`.
        skip_bad: leave unusable rows out.
        keep_seen: keep what training or validation saw, with a remark.

    Raises:
        DataError: unusable data, or nothing new in it.
    """
    samples = load_samples(specs, skip_bad=skip_bad)
    remarks: tuple[str, ...] = ()
    try:
        by_part = _parts(run, skip_bad=True)
        seen = _same_photographs(samples, [sample for part in SEEN for sample in by_part.get(part, [])])
    except DataError:
        ids = {id for part in SEEN for id in run.split.get(part, ())}
        seen = {sample.patient_id for sample in samples if sample.id in ids}
        remarks = ("The run's own data could not be read, so studies it saw were recognised by their ids alone.",)
    known = sum(sample.patient_id in seen for sample in samples)
    if known and keep_seen:
        remark = f"{known} of these studies were seen in training or validation: the figures say nothing of new patients."
        return HeldOut(samples=tuple(samples), split="other", remarks=(*remarks, remark))
    kept = tuple(sample for sample in samples if sample.patient_id not in seen)
    if not kept:
        raise DataError(
            f"run {run.path} has seen every study of {', '.join(specs)} in training or validation; leave --data out to judge "
            "it on its own test split, name other data, or add --keep-seen"
        )
    if known:
        remarks = (*remarks, f"{known} studies were left out: training or validation saw them or their patients.")
    return HeldOut(samples=kept, split="other", seen=known, remarks=remarks)


def _parts(run: Run, *, skip_bad: bool) -> dict[str, list[Sample]]:
    """The run's own samples by split."""
    samples = load_samples(run.info.data, skip_bad=skip_bad)
    names = {part: set(ids) for part, ids in run.split.items()}
    if max(Counter(sample.id for sample in samples).values()) > 1:
        # Two data sets that name their studies alike: only the split itself, which is deterministic, tells them apart.
        split = split_samples(samples, recipe_from_document(run.info.recipe))
        return {part: list(getattr(split, part)) for part in names}
    return {part: [sample for sample in samples if sample.id in ids] for part, ids in names.items()}


def _same_photographs(samples: Sequence[Sample], seen: Sequence[Sample]) -> set[str]:
    """Patients of `samples` who share a photograph with `seen`, or its id where there is no photograph."""
    known = {content_hash(data) for sample in seen if (data := sample.image_bytes()) is not None}
    without = {(sample.id, sample.patient_id) for sample in seen if sample.image_path is None}
    patients: set[str] = set()
    for sample in samples:
        data = sample.image_bytes()
        if (content_hash(data) in known) if data is not None else (sample.id, sample.patient_id) in without:
            patients.add(sample.patient_id)
    return patients
