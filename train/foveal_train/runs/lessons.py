"""What teachers bring to a run in the making: its split, photographs without labels, soft targets. Trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from foveal_runtime.errors import ConfigError
from foveal_train.data import Sample, Split
from foveal_train.runs.answers import ask
from foveal_train.runs.consensus import agreed
from foveal_train.runs.inheritance import Inherited, inherit, unlabelled
from foveal_train.runs.reporter import Reporter
from foveal_train.runs.run import Distillation, TaughtBy
from foveal_train.runs.samples import load_samples
from foveal_train.runs.teachers import Teaching, open_teachers
from foveal_train.training.arrays import Skipped, StudyArrays
from foveal_train.training.distillation import SoftTargets
from foveal_train.training.recipe import Recipe

ANSWERS = ".answers"
"""Beside a run: what teachers said, by content, for this distillation and the next."""


class Lessons:
    """The teachers of one run."""

    def __init__(self, teaching: Teaching, out: Path) -> None:
        """Open the teachers.

        Args:
            teaching: who teaches, and from what besides the run's own data.
            out: the run's folder.

        Raises:
            DataError, ConfigError: see `open_teachers`.
        """
        self.teachers = open_teachers(teaching.teachers)
        self._teaching = teaching
        self._folder = teaching.answers or out.absolute().parent / ANSWERS
        self._inherited: Inherited | None = None
        self._agreement: tuple[float, ...] = ()
        self.unlabelled: tuple[Sample, ...] = ()
        """Photographs to learn from without labels, once the data are split."""

    def split(self, samples: Sequence[Sample], recipe: Recipe, *, skip_bad: bool, skipped: Skipped, say: Reporter) -> Split:
        """The split that the teachers' held-out studies allow, and the photographs without labels that it allows.

        Raises:
            ConfigError: a teacher has learnt from what another held out.
            DataError: the data sets without labels can't be read.
        """
        splits = {teacher.run.path: teacher.run.split for teacher in self.teachers}
        self._inherited = inherit(samples, recipe, splits, not_held_out=self._teaching.not_held_out)
        for warning in self._inherited.warnings:
            say.remark(f"warning: {warning}")
        if self._teaching.unlabelled:
            others = load_samples(self._teaching.unlabelled, skip_bad=skip_bad, skipped=skipped)
            self.unlabelled, left_out = unlabelled(others, self._inherited.split)
            remark = f"{len(self.unlabelled)} photographs are learnt from without labels"
            say.remark(remark + (f"; {left_out} are left out, being held out or of patients who are" if left_out else ""))
        return self._inherited.split

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the run's figures has to know."""
        return () if self._inherited is None else self._inherited.warnings

    def targets(self, taught: StudyArrays, recipe: Recipe, *, device: torch.device, say: Reporter) -> SoftTargets:
        """The teachers' answers on the studies that the student learns from; what was asked before is not asked again.

        Args:
            taught: the studies, in the order of the targets.
            recipe: of the student.
            device: to compute on.
            say: told how it gets on.

        Raises:
            DataError: a photograph or the folder of answers can't be read or written.
            ConfigError: see `agreed`.
        """
        own = recipe.model.head_classes
        for teacher in self.teachers:
            for head, classes in teacher.run.info.model.head_classes.items():
                if head in teacher.run.info.trained_heads and classes != own.get(head, classes):
                    raise ConfigError(
                        f"teacher {teacher.name} has other classes of head {head} than the recipe; name the same, "
                        "or leave the head out"
                    )
        total, answers = len(taught) * len(self.teachers), []
        for number, teacher in enumerate(self.teachers):

            def progress(done: int, _: int, before: int = number * len(taught)) -> None:
                say.progress(before + done, total)

            flips = recipe.distillation.flips
            answers.append(ask(teacher, taught.samples, self._folder, flips=flips, device=device, progress=progress))
        found, self._agreement = agreed(self.teachers, answers, vectors=recipe.distillation.vectors > 0)
        return found

    def record(self) -> Distillation:
        """For run.json."""
        assert self._inherited is not None
        agreement = self._agreement or (None,) * len(self.teachers)
        return Distillation(
            teachers=tuple(
                TaughtBy(
                    name=teacher.name,
                    fingerprint=teacher.fingerprint,
                    space_id=teacher.run.info.space_id,
                    recipe=str(teacher.run.info.recipe.get("name", "")),
                    side_px=teacher.run.info.model.image_spec.side_px,
                    agreement=None if cosine is None else round(cosine, 4),
                )
                for teacher, cosine in zip(self.teachers, agreement, strict=True)
            ),
            unlabelled=self._teaching.unlabelled,
            unlabelled_studies=len(self.unlabelled),
            learnt_test=self._inherited.learnt_test,
            learnt_validation=self._inherited.learnt_validation,
        )
