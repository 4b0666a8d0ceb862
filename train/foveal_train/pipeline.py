"""From data specs and a recipe to a finished run: load, split, fit, calibrate, evaluate, write. The steps are others'."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from foveal_runtime.errors import ConfigError, DataError, FovealError
from foveal_runtime.study.labels import Head
from foveal_train.data import Problem, Sample, Split
from foveal_train.data.fingerprint import fingerprint
from foveal_train.data.sample import problems_text
from foveal_train.data.split import PARTS
from foveal_train.model.weights import BuiltModel, build_model
from foveal_train.runs.claim import CACHE, claim, claim_data, leave
from foveal_train.runs.description import describe
from foveal_train.runs.heads import with_classes
from foveal_train.runs.lessons import Lessons
from foveal_train.runs.origin import origin
from foveal_train.runs.prepared import Prepared, prepare, trained_heads
from foveal_train.runs.reporter import Reporter, Silent
from foveal_train.runs.run import (
    HISTORY_FILE,
    METRICS_FILE,
    REPORT_FILE,
    SPLIT_FILE,
    Run,
    RunInfo,
    write_json,
    write_run,
)
from foveal_train.runs.samples import load_samples, split_samples
from foveal_train.runs.teachers import Teaching
from foveal_train.training import checkpoint
from foveal_train.training.curves import FILE as CURVES_FILE
from foveal_train.training.curves import FOLDER as SCALARS
from foveal_train.training.curves import Scalars, curves
from foveal_train.training.decoded import DecodedPhotographs
from foveal_train.training.distillation import SoftTargets
from foveal_train.training.lesions import LesionMaps, lesion_maps
from foveal_train.training.recipe import Method, Recipe
from foveal_train.training.stripped import without_dr_sentences
from foveal_train.training.trainer import Fitted, Studies, Trainer


def train(
    recipe: Recipe,
    specs: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    skip_bad: bool = False,
    tensorboard: bool = False,
    teaching: Teaching | None = None,
    decoded: DecodedPhotographs | None = None,
    command: str = "",
    reporter: Reporter | None = None,
) -> Run:
    """Train a recipe on data sets and write the run.

    Under `torchrun` every process reads the data and trains; the first one alone writes, and the others return early.

    Args:
        recipe: what to train.
        specs: data sets, `kind:path`.
        out: the run's folder; must not hold a finished run.
        resume: go on where the last checkpoint of `out` stood.
        skip_bad: leave unusable rows and photographs out instead of refusing the data set.
        tensorboard: write scalars to `out`/tensorboard after every epoch.
        teaching: teachers to learn from besides the labels, as `foveal distill` does; None learns from labels and pairs alone.
        decoded: photographs that other runs decode as well; None decodes them for this run alone.
        command: that asked for it, for the run's own record.
        reporter: told how it gets on.

    Raises:
        ConfigError: recipe or weights; or a resume that asks for something else.
        DataError: data, or a folder that can't be used.
        CheckFailed: a loss became NaN.
    """
    if recipe.method is not Method.MULTIMODAL:
        raise ConfigError(f"recipe {recipe.name} is a baseline ({recipe.method.value}); run it with foveal sweep")
    making = _Making(
        recipe, specs, out, resume=resume, skip_bad=skip_bad, tensorboard=tensorboard, command=command, reporter=reporter
    )
    making.decoded, making.teaching = decoded, teaching
    making.claim()
    for name, stage in making.stages:
        making.say.stage(name)
        stage()
    making.finish()
    return Run(out, making.info, making.built.model, making.built.tokenizer_json)


_STARVED = 0.05
"""Weight of the grading loss under which a reader is warned."""


def starved(row: dict[str, Any]) -> str:
    """A warning when the learnt weights of an epoch have moved away from grading; empty when they have not.

    Args:
        row: of the history.
    """
    weight: float = row["weights"].get("classification", 1.0)
    if weight >= _STARVED:
        return ""
    return (
        f"warning: grading weighs {weight:.3f} in epoch {row['epoch']}: the learnt weights have moved to the other losses, and "
        "the model hardly learns to grade any more; losses.weighting=fixed or uncertainty keeps it"
    )


class _Making:
    """A run in the making; every stage takes what the ones before it left."""

    split: Split
    built: BuiltModel
    data: Prepared
    heads: tuple[Head, ...]
    fitted: Fitted
    info: RunInfo

    def __init__(
        self,
        recipe: Recipe,
        specs: Sequence[str],
        out: Path,
        *,
        resume: bool,
        skip_bad: bool,
        tensorboard: bool,
        command: str,
        reporter: Reporter | None,
    ) -> None:
        """Arguments are those of `train`."""
        self.recipe, self.specs, self.out = recipe, specs, out
        self.resume, self.skip_bad, self.tensorboard = resume, skip_bad, tensorboard
        self.process = PartialState(cpu=not torch.cuda.is_available())
        self.first = self.process.is_main_process
        self.say = reporter if reporter is not None and self.first else Silent()
        self.cache = out / CACHE / str(self.process.process_index)
        self.problems: list[Problem] = []
        self.decoded: DecodedPhotographs | None = None
        self.teaching: Teaching | None = None
        self.lessons: Lessons | None = None
        self.targets: SoftTargets | None = None
        self.data_sha256 = ""
        self.origin = origin(command)

    @property
    def stages(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        """Name and work of every stage, in order."""
        return (
            ("reading data", self.read),
            ("loading weights", self.load_weights),
            ("decoding photographs", self.decode),
            *((("asking the teachers", self.ask),) if self.teaching is not None else ()),
            ("training", self.fit),
            ("calibrating and evaluating", self.conclude),
        )

    def claim(self) -> None:
        """Take the folder."""
        if self.first:
            flags = {"skip_bad": self.skip_bad, "tensorboard": self.tensorboard}
            claim(self.out, self.recipe, self.specs, resume=self.resume, teaching=self.teaching, flags=flags)
        self.process.wait_for_everyone()

    def read(self) -> None:
        with self._giving_back():
            samples = load_samples(self.specs, skip_bad=self.skip_bad, skipped=self.problems.append)
            self.recipe = with_classes(self.recipe, samples)
            self.data_sha256 = fingerprint(samples, named=True, heads=self.recipe.model.head_classes)
            if self.teaching is None:
                self.split = split_samples(samples, self.recipe)
            else:
                self.lessons = Lessons(self.teaching, self.out)
                skipped = self.problems.append
                self.split = self.lessons.split(samples, self.recipe, skip_bad=self.skip_bad, skipped=skipped, say=self.say)
            if self.first:
                claim_data(self.out, self.data_sha256, fingerprint(self.unlabelled) if self.unlabelled else "")

    @property
    def unlabelled(self) -> tuple[Sample, ...]:
        """Photographs that are learnt from without labels."""
        return () if self.lessons is None else self.lessons.unlabelled

    def load_weights(self) -> None:
        with self._giving_back():
            self.built = build_model(self.recipe.model, seed=self.recipe.seed)

    def decode(self) -> None:
        skipped = self.problems.append if self.skip_bad else None
        with self._giving_back():
            self.data = prepare(
                self.split,
                self.built,
                self.recipe,
                cache=self.cache,
                reporter=self.say,
                unlabelled=self.unlabelled,
                decoded=self.decoded,
                skipped=skipped,
            )
            self.heads = trained_heads(self.data.train, self.recipe.model.head_classes)
            if not self.heads:
                raise DataError(
                    "the training split has no head to train: labels of at least two classes are needed; give labelled data"
                )
        if self.problems:
            self.say.remark(problems_text(self.problems))

    def _lesions(self) -> LesionMaps | None:
        if not self.recipe.losses.lesions:
            return None
        return lesion_maps(self.data.taught.samples, self.recipe.model.image_spec, Path(self.recipe.losses.lesion_masks))

    def ask(self) -> None:
        assert self.lessons is not None
        with self._giving_back(), self.process.main_process_first():  # the others find the answers that it keeps
            self.targets = self.lessons.targets(self.data.taught, self.recipe, device=self.process.device, say=self.say)

    def fit(self) -> None:
        data, recipe = self.data, self.recipe
        studies = Studies(
            train=data.taught,
            validation=data.validation if len(data.validation) else None,
            stripped=without_dr_sentences(data.taught, data.tokenise) if recipe.strip_dr_notes else None,
            targets=self.targets,
            lesions=self._lesions(),
        )
        warned = ""
        with Scalars(self.out / SCALARS) if self.tensorboard and self.first else nullcontext() as scalars:

            def epoch(row: dict[str, Any]) -> None:
                nonlocal warned
                self.say.epoch(row)
                if not warned and (warned := starved(row)):
                    self.say.remark(warned)
                if scalars is not None:
                    scalars.write(row)

            trainer = Trainer(self.built.model, recipe, studies, self.heads, out=self.out, cache=self.cache)
            self.fitted = trainer.fit(resume=self.resume, report=self.say.step, epoch_report=epoch)

    def conclude(self) -> None:
        self.built.model.to(self.process.device)
        found = describe(self.built, self.recipe, self.specs, self.split, self.data, self.heads, self.fitted)
        taught = None if self.lessons is None else self.lessons.record()
        changes = {"data_sha256": self.data_sha256, "origin": self.origin, "distillation": taught}
        self.info = found.model_copy(update=changes)
        if not self.first:
            return
        try:
            warnings = [problems_text(self.problems)] if self.problems else []
            warnings += self.lessons.warnings if self.lessons is not None else ()
            _write_results(self.out, self.built, self.info, self.data, self.fitted, warnings, reporter=self.say)
        except OSError as error:
            raise DataError(
                f"run {self.out} can't be written ({error.strerror}); free space and go on with --resume: "
                "its last checkpoint is whole"
            ) from None

    def finish(self) -> None:
        """Remove what only an unfinished run needs."""
        if self.first:
            checkpoint.discard(self.out)
            del self.data  # the cache is memory-mapped by it
            shutil.rmtree(self.out / CACHE, ignore_errors=True)

    @contextmanager
    def _giving_back(self) -> Iterator[None]:
        """Give the folder back when what was asked for can't be done: no training has begun."""
        try:
            yield
        except FovealError:
            if self.first and not self.resume:
                leave(self.out)
            raise


def _write_results(
    out: Path,
    built: BuiltModel,
    info: RunInfo,
    data: Prepared,
    fitted: Fitted,
    warnings: Sequence[str],
    *,
    reporter: Reporter,
) -> None:
    """Evaluate what was fitted and write everything that makes a run; run.json comes last."""
    from foveal_train.evaluation import evaluate_arrays
    from foveal_train.evaluation.report import write_html

    write_json(out / SPLIT_FILE, {name: list(getattr(data, name).ids) for name in PARTS})
    history = "".join(json.dumps(row) + "\n" for row in fitted.history)
    (out / HISTORY_FILE).write_text(history, encoding="utf-8")
    drawn = curves(fitted.history, fitted.best_epoch)
    (out / CURVES_FILE).write_bytes(drawn)
    held_out, name = (data.test, "test") if len(data.test) else (data.validation, "validation")
    seed = info.seed
    found = evaluate_arrays(built.model, held_out, info, seed=seed, tokenise=data.tokenise, progress=reporter.progress)
    found["warnings"] = [*warnings, *found["warnings"]]
    metrics = {"split": name, "run": out.name, "data": list(info.data), "seen": 0, **found}
    write_json(out / METRICS_FILE, metrics)
    write_html(out / REPORT_FILE, metrics, info, fitted.history, drawn)
    built.model.to("cpu")
    write_run(out, info, built.model, built.tokenizer_json)
