"""The training loop: epochs, schedule, early stop, moving average, checkpoints. Knows nothing of data sets or of runs.

Under `torchrun` every process takes its share of each step's rows, and contrastive losses see the rows of all.
`accelerate` carries mixed precision and several processes; `transformers.Trainer` was weighed and left
(docs/decisions.md). Everything random draws from torch's global generator, whose state is part of a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor

from foveal_runtime.errors import ConfigError
from foveal_runtime.study.labels import Head
from foveal_train.model.model import MultimodalModel
from foveal_train.training import checkpoint
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.batch import LossReader, Means, SeenStep, check_finite, loss_values, make_batch
from foveal_train.training.checkpoint import Holder, LoopState
from foveal_train.training.cpu_speed import Float32Depthwise, kept_memory
from foveal_train.training.distillation import SoftTargets
from foveal_train.training.fakequant import RoundedEpochs
from foveal_train.training.feeder import RawBatch, fed
from foveal_train.training.frozen import FrozenStates, frozen_states
from foveal_train.training.kept import KeptWeights
from foveal_train.training.lesions import LesionMaps
from foveal_train.training.losses import class_weights
from foveal_train.training.objective import Losses, Objective
from foveal_train.training.optimiser import new_accelerator, new_optimizer, new_scheduler
from foveal_train.training.prior import correct_prior, prior_shifts
from foveal_train.training.recipe import Recipe, Schedule
from foveal_train.training.sampling import draw_order, epoch_dice, head_counts, sampling_weights, steps_of
from foveal_train.training.stripped import some_stripped

StepReport = Callable[[int, int, int, dict[str, float]], None]
"""Called after every step with (epoch, step, steps in the epoch, running mean of the losses)."""


EpochReport = Callable[[dict[str, Any]], None]
"""Called after every epoch with its row of the history."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What training leaves besides the model's weights."""

    history: list[dict[str, Any]]
    """A row an epoch: losses, their weights, learning rates, validation loss."""
    best_epoch: int
    epochs: int


def selected(losses: Mapping[str, float]) -> float:
    """What the schedule, the early stop and the best epoch go by: the unweighted grading loss.

    The total won't do where its weights are learnt: the softmax of the paper's equation (1) gives its weight to the losses
    that are small already, and within some twenty epochs the total hardly holds grading any more.

    Args:
        losses: of a validation: `loss`, the total, and its parts.
    """
    return losses.get("classification", losses["loss"])


def _objective(model: MultimodalModel, recipe: Recipe, counts: Mapping[Head, Tensor]) -> Objective:
    balance = recipe.losses.class_balance
    weights = {head: class_weights(counts_G, balance) for head, counts_G in counts.items()}
    return Objective(model, recipe, tuple(counts), weights, prior_shifts(recipe, counts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Studies:
    """What a model is trained on."""

    train: StudyArrays
    validation: StudyArrays | None = None
    """For the schedule, early stopping and the best epoch; None trains to the last epoch."""
    stripped: StudyArrays | None = None
    """The training studies with notes that do not name diabetic retinopathy, of which the recipe's `strip_dr_notes` shows a
    share; None shows each note as it is."""
    targets: SoftTargets | None = None
    """Teachers' answers on the training studies, in their order; None trains on labels and pairs alone."""
    lesions: LesionMaps | None = None
    """Of some training studies, by row."""


class Trainer:
    """Trains one model in place: `fit` goes through the epochs, the other methods are its parts."""

    def __init__(
        self,
        model: MultimodalModel,
        recipe: Recipe,
        studies: Studies,
        heads: tuple[Head, ...],
        *,
        out: Path | None = None,
        cache: Path | None = None,
    ) -> None:
        """Prepare model, optimiser and schedule for this machine.

        Args:
            model: trained in place; after `fit` it holds the kept weights, in evaluation mode.
            recipe: how.
            studies: on what.
            heads: heads to train.
            out: folder for checkpoints, one after every epoch; None writes none.
            cache: folder for the outputs of frozen blocks (`optimiser.cache_frozen`); None keeps them in memory.

        Raises:
            ConfigError: fewer training studies than the processes need for one step.
        """
        self.model, self.recipe, self.studies, self.out = model, recipe, studies, out
        self.state = LoopState()
        config, train = recipe.optimiser, studies.train
        self._on_cpu = not torch.cuda.is_available()
        self._accelerator = new_accelerator(recipe, on_cpu=self._on_cpu)
        rank, together = self._accelerator.process_index, self._accelerator.num_processes
        # Each process augments and drops by its own dice; the first one's are those of a training that is alone.
        torch.manual_seed(recipe.seed + rank)
        model.to(self._accelerator.device).to(memory_format=torch.channels_last)
        if config.compile:
            model.image.compile()
            model.text.compile(dynamic=True)
        self._counts = head_counts(train.labels, recipe.model.head_classes, heads)
        self._own = _objective(model, recipe, self._counts)
        optimizer = new_optimizer(self._own, recipe)
        self._rows = np.flatnonzero(train.present_NM.any(axis=1))
        self._drawn_by = sampling_weights(train.labels[heads[0]][self._rows], config.balanced_sampling)
        self._size = config.batch_size * together
        if together > 1 and len(self._rows) < self._size:
            raise ConfigError(
                f"{len(self._rows)} training studies are too few for {together} processes of {config.batch_size}; lower "
                "optimiser.batch_size or start fewer processes"
            )
        self.steps = max(1, len(self._rows) // self._size)
        """Steps of an epoch."""
        self._scheduler = new_scheduler(optimizer, recipe, math.ceil(self.steps / config.accumulate) * config.epochs)
        self._kept = KeptWeights(model, config, validated=studies.validation is not None)
        self._rounding = RoundedEpochs(model, recipe)
        self._objective, self._optimizer = self._accelerator.prepare(self._own, optimizer)
        self._train_states: FrozenStates | None = None
        self._validation_states: FrozenStates | None = None
        if config.cache_frozen:
            file = cache / "frozen-train.npy" if cache else None
            self._train_states = frozen_states(model, train, file, stripped=studies.stripped)
            if studies.validation is not None:
                file = cache / "frozen-validation.npy" if cache else None
                self._validation_states = frozen_states(model, studies.validation, file)

    @property
    def finished(self) -> bool:
        """Whether every epoch was made, or the validation's grading loss has not fallen for as long as the recipe waits."""
        config = self.recipe.optimiser
        stopped = bool(config.early_stop_patience) and self.state.stalled >= config.early_stop_patience
        return stopped or self.state.epoch >= config.epochs

    @kept_memory()
    def fit(self, *, resume: bool = False, report: StepReport | None = None, epoch_report: EpochReport | None = None) -> Fitted:
        """Train to the end.

        Args:
            resume: go on from the checkpoint in `out` when there is one.
            report: called after every step.
            epoch_report: called after every epoch.

        Raises:
            CheckFailed: a loss is NaN or infinite; names the loss and the batch.
            DataError: a checkpoint can't be written or read.
        """
        if resume:
            self.resume()
        while not self.finished:
            row = self.epoch(report)
            self.save()
            if epoch_report is not None:
                epoch_report(row)
        self._kept.give(self.model)
        self._rounding.settle()
        self.model.to("cpu").eval()
        correct_prior(self.model, self.recipe, self._counts)
        state = self.state
        return Fitted(history=state.history, best_epoch=state.best_epoch or state.epoch, epochs=state.epoch)

    def epoch(self, report: StepReport | None = None) -> dict[str, Any]:
        """One epoch and its validation; its row of the history."""
        self._objective.train()
        mean, weights, number = Means(), dict[str, float](), self.state.epoch + 1
        if self._rounding.begin(self.state.epoch):  # what was best without rounding is no measure for what comes
            self.state.best_loss = None
        rank, together = self._accelerator.process_index, self._accelerator.num_processes
        dice = epoch_dice(self.recipe.seed, self.state.epoch)
        order = self._rows[draw_order(self._drawn_by, len(self._rows), dice)]
        shown = self._shown_studies(dice)
        self._optimizer.zero_grad()
        own = (every[rank::together] for every in steps_of(order, self._size, whole=True))
        reader = LossReader(self._accelerator.device)

        def hear(seen: list[SeenStep]) -> None:
            for each in seen:
                mean.add(each.values)
                weights.update(each.weights)
                if report is not None:
                    report(number, each.step, self.steps, mean.means())

        for step, raw in enumerate(fed(shown, own, pin=not self._on_cpu), start=1):
            hear(self.step(shown, raw, step, reader))
        last = reader.rest()
        for each in last:
            check_finite(each.values, f"epoch {number}, batch {each.step}", self.out)
        hear(last)
        rates = [group["lr"] for group in self._optimizer.param_groups]
        row: dict[str, Any] = {"epoch": number, "train": mean.means(), "weights": weights, "learning_rates": rates}
        if self.studies.validation is not None:
            row["validation"] = self.validate()
            self._track(selected(row["validation"]))
        self.state.epoch = number
        self.state.history.append(row)
        return row

    def _shown_studies(self, dice: torch.Generator) -> StudyArrays:
        """The training studies as this epoch shows them."""
        train, stripped = self.studies.train, self.studies.stripped
        if stripped is None:
            return train
        chosen_N = torch.rand(len(train), generator=dice).numpy() < self.recipe.strip_dr_notes
        return some_stripped(train, stripped, chosen_N)

    def step(self, arrays: StudyArrays, raw: RawBatch, step: int, reader: LossReader) -> list[SeenStep]:
        """Learn from one batch.

        Args:
            arrays: the training studies as they are shown.
            raw: the batch, of this process.
            step: its number in the epoch, from 1; gradients of `optimiser.accumulate` steps make one update.
            reader: of its losses.

        Returns:
            Losses that are numbers by now: on a processor this step's.

        Raises:
            CheckFailed: a loss is NaN or infinite; on a GPU a step later.
        """
        config, accelerator = self.recipe.optimiser, self._accelerator
        with (
            self._rounding.around(self.state.epoch, accelerator.autocast(), learning=True),
            Float32Depthwise() if self._on_cpu else nullcontext(),
        ):
            given = (raw, arrays, self.recipe, accelerator.device, self._train_states)
            batch = make_batch(*given, training=True, targets=self.studies.targets, lesions=self.studies.lesions)
            losses: Losses = self._objective(batch)
        seen = reader.read(losses, step)
        for each in seen:  # before what is not finite reaches the weights, where the device need not be waited for
            check_finite(each.values, f"epoch {self.state.epoch + 1}, batch {each.step}", self.out)
        accelerator.backward(losses.total / config.accumulate)
        if step % config.accumulate == 0 or step == self.steps:
            accelerator.clip_grad_norm_(self._objective.parameters(), config.clip_norm)
            self._optimizer.step()
            self._optimizer.zero_grad()
            if config.schedule is Schedule.COSINE:
                self._scheduler.step()
            self._kept.updated(self.model)
        return seen

    def validate(self) -> dict[str, float]:
        """Mean losses over the whole validation split, as the main process finds them: all decide alike on what follows.

        Raises:
            CheckFailed: one is NaN or infinite.
        """
        arrays = self.studies.validation
        assert arrays is not None
        self._own.eval()
        mean = Means()
        rows = np.flatnonzero(arrays.present_NM.any(axis=1))
        if self._accelerator.is_main_process:
            with torch.inference_mode():
                parts = steps_of(rows, 32, whole=False)
                for raw in fed(arrays, parts, pin=not self._on_cpu):
                    device, states = self._accelerator.device, self._validation_states
                    batch = make_batch(raw, arrays, self.recipe, device, training=False, states=states)
                    with self._rounding.around(self.state.epoch, nullcontext(), learning=False):
                        mean.add(loss_values(self._own(batch)), len(raw.rows))
        shared: list[dict[str, float]] = broadcast_object_list([mean.means()])
        check_finite(shared[0], f"the validation after epoch {self.state.epoch + 1}", self.out)
        return shared[0]

    def _track(self, loss: float) -> None:
        """Keep the weights of the epoch that grades best, and tell the schedule of it."""
        state = self.state
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_epoch, state.stalled = loss, state.epoch + 1, 0
            self._kept.improved(self.model)
        else:
            state.stalled += 1
        if isinstance(self._scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self._scheduler.step(loss)

    def _holders(self) -> dict[str, Holder]:
        """What has a state that a checkpoint keeps."""
        own: dict[str, Holder] = {"objective": self._own, "optimizer": self._optimizer, "scheduler": self._scheduler}
        return {**own, **self._rounding.holders, **self._kept.holders}

    def save(self) -> None:
        """Write a checkpoint, where there is a folder for it.

        Raises:
            DataError: the disk is full or the folder can't be written.
        """
        if self.out is not None:
            checkpoint.save(self._accelerator, self._holders(), self.state, self.out)

    def resume(self) -> bool:
        """Go on from the checkpoint in `out`; whether there was one.

        Raises:
            DataError: it is damaged, or holds anything but safetensors and JSON.
        """
        found = checkpoint.load(self._accelerator, self._holders(), self.out) if self.out is not None else None
        self.state = found or self.state
        return found is not None
