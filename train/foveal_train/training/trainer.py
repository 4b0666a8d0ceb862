"""The training loop: epochs, schedule, early stop, moving average, checkpoints. Knows nothing of data sets or of runs.

Under `torchrun` every process takes its share of each step's rows, and contrastive losses see the rows of all.
`accelerate` carries mixed precision, gradient accumulation and checkpoints; `transformers.Trainer` was weighed and left
(docs/decisions.md). Everything random draws from torch's global generator, whose state is part of a checkpoint.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foveal_runtime.errors import CheckFailed, ConfigError
from foveal_runtime.study.labels import GRADES, Head
from foveal_train.model.model import MultimodalModel
from foveal_train.training import checkpoint
from foveal_train.training.arrays import StudyArrays
from foveal_train.training.augment import augment
from foveal_train.training.checkpoint import LoopState
from foveal_train.training.cpu_speed import Float32Depthwise, has_bf16, kept_memory
from foveal_train.training.frozen import FrozenStates, frozen_states
from foveal_train.training.losses import MISSING, class_weights
from foveal_train.training.objective import Batch, Losses, Objective, drop_modalities
from foveal_train.training.recipe import Keep, Recipe, Schedule
from foveal_train.training.sampling import draw_order, epoch_dice, sampling_weights, steps_of
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


def grade_counts(arrays: StudyArrays, head: Head) -> Tensor:
    """Labelled studies of each grade."""
    labels = arrays.labels[head]
    return torch.from_numpy(np.bincount(labels[labels != MISSING], minlength=GRADES))


def _objective(model: MultimodalModel, recipe: Recipe, train: StudyArrays, heads: tuple[Head, ...]) -> Objective:
    balance = recipe.losses.class_balance
    weights = {head: class_weights(grade_counts(train, head), balance) for head in heads}
    return Objective(model, recipe, heads, weights)


def _optimizer(objective: Objective, recipe: Recipe) -> torch.optim.AdamW:
    config = recipe.optimiser
    model = objective.model
    image, text = set(model.image.backbone.parameters()), set(model.text.bert.parameters())
    rest = set(objective.parameters()) - image - text
    groups: list[dict[str, Any]] = []
    for rate, members in (
        (config.image_learning_rate, image),
        (config.text_learning_rate, text),
        (config.learning_rate, rest),
    ):
        parameters = [p for p in objective.parameters() if p.requires_grad and p in members]
        if parameters:
            groups.append({"params": parameters, "lr": rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, updates: int) -> torch.optim.lr_scheduler.LRScheduler:
    config = recipe.optimiser
    if config.schedule is Schedule.PLATEAU:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=config.plateau_factor, patience=config.plateau_patience
        )
    warmup = max(1, round(config.warmup * updates))

    def scale(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, updates - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, scale)


def _batch(
    arrays: StudyArrays,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    recipe: Recipe,
    *,
    training: bool,
    states: FrozenStates | None = None,
) -> Batch:
    images = arrays.images(rows) if arrays.present_NM[rows, 0].any() else None
    if images is not None and training and not recipe.augmentation.is_off:
        images = augment(images, recipe.augmentation)
    inputs = arrays.inputs(rows, images_BCSS=images)
    if states is not None:
        inputs = states.given_to(inputs, arrays, rows)
    shown = drop_modalities(inputs.present_BM, recipe.modality_dropout) if training and recipe.modality_dropout else None
    return Batch(
        inputs=inputs,
        labels={head: torch.from_numpy(labels[rows]) for head, labels in arrays.labels.items()},
        note_groups_B=torch.from_numpy(arrays.note_groups_N[rows]),
        shown_BM=shown,
    )


class _Mean:
    """Running means of named numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, float], count: int = 1) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * count
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        return {name: total / self._counts[name] for name, total in self._sums.items()}


def _numbers(losses: Losses) -> dict[str, float]:
    return {"loss": float(losses.total.detach()), **{name: float(part.detach()) for name, part in losses.parts.items()}}


def _validate(
    objective: Objective, arrays: StudyArrays, recipe: Recipe, states: FrozenStates | None, accelerator: Accelerator
) -> dict[str, float]:
    """Mean losses over a whole split, as the main process finds them: all decide alike on what follows from them."""
    objective.eval()
    mean = _Mean()
    rows = np.flatnonzero(arrays.present_NM.any(axis=1))
    if accelerator.is_main_process:
        with torch.inference_mode():
            for part in steps_of(rows, 32, whole=False):
                batch = _batch(arrays, part, recipe, training=False, states=states).to(accelerator.device)
                mean.add(_numbers(objective(batch)), len(part))
    told: list[dict[str, float]] = broadcast_object_list([mean.means()])
    return told[0]


def _check_finite(values: dict[str, float], where: str, out: Path | None) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        kept = f"; the last good checkpoint stays in {out}" if out is not None else ""
        raise CheckFailed(
            f"loss {', '.join(bad)} is not finite in {where}{kept}; "
            "lower optimiser.learning_rate or check that batch's labels and photographs"
        )


@kept_memory()
def fit(
    model: MultimodalModel,
    recipe: Recipe,
    train: StudyArrays,
    validation: StudyArrays | None,
    heads: tuple[Head, ...],
    *,
    out: Path | None = None,
    resume: bool = False,
    report: StepReport | None = None,
    epoch_report: EpochReport | None = None,
    cache: Path | None = None,
    stripped: StudyArrays | None = None,
) -> Fitted:
    """Train `model` in place.

    Args:
        model: trained in place; holds the kept weights afterwards, in evaluation mode.
        recipe: how.
        train: training studies.
        validation: for the schedule, early stopping and the best epoch; None trains to the last epoch.
        heads: heads to train.
        out: folder for checkpoints, one after every epoch; None writes none.
        resume: go on from the checkpoint in `out` when there is one.
        report: called after every step.
        epoch_report: called after every epoch.
        cache: folder for the outputs of frozen blocks (`optimiser.cache_frozen`); None keeps them in memory.
        stripped: the training studies with notes that do not name diabetic retinopathy, of which `strip_dr_notes` shows
            a share; None shows each note as it is.

    Raises:
        CheckFailed: a loss is NaN or infinite; names the loss and the batch.
        DataError: a checkpoint can't be written or read.
    """
    config = recipe.optimiser
    on_cpu = not torch.cuda.is_available()
    AcceleratorState._reset_state()  # a sweep's last recipe may have had another precision, which it holds on to
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if config.bf16 and has_bf16(torch.device("cpu" if on_cpu else "cuda")) else "no",
        step_scheduler_with_optimizer=False,
        # A batch that shows no text leaves the text encoder without gradients.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    rank, together = accelerator.process_index, accelerator.num_processes
    # Each process augments and drops by its own dice; the first one's are those of a training that is alone.
    torch.manual_seed(recipe.seed + rank)
    model.to(accelerator.device).to(memory_format=torch.channels_last)
    objective = _objective(model, recipe, train, heads)
    optimizer = _optimizer(objective, recipe)
    rows = np.flatnonzero(train.present_NM.any(axis=1))
    drawn_by = sampling_weights(train.labels[heads[0]][rows], config.balanced_sampling)
    size = config.batch_size * together
    if together > 1 and len(rows) < size:
        raise ConfigError(
            f"{len(rows)} training studies are too few for {together} processes of {config.batch_size}; lower "
            "optimiser.batch_size or start fewer processes"
        )
    steps = max(1, len(rows) // size)
    updates = math.ceil(steps / config.accumulate)
    scheduler = _scheduler(optimizer, recipe, updates * config.epochs)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True) if config.ema else None
    best = AveragedModel(model) if config.keep is Keep.BEST and validation is not None else None
    own = objective
    objective, optimizer = accelerator.prepare(objective, optimizer)
    for holder in (scheduler, average, best):
        if holder is not None:
            accelerator.register_for_checkpointing(holder)
    train_states = validation_states = None
    if config.cache_frozen:
        train_states = frozen_states(model, train, cache / "frozen-train.npy" if cache else None, stripped=stripped)
        if validation is not None:
            validation_states = frozen_states(model, validation, cache / "frozen-validation.npy" if cache else None)
    state = LoopState()
    if resume and out is not None:
        state = checkpoint.load(accelerator, out) or state
    while state.epoch < config.epochs and not (config.early_stop_patience and state.stalled >= config.early_stop_patience):
        objective.train()
        mean, weights = _Mean(), dict[str, float]()
        dice = epoch_dice(recipe.seed, state.epoch)
        order = rows[draw_order(drawn_by, len(rows), dice)]
        shown = train
        if stripped is not None:
            chosen_N = torch.rand(len(train), generator=dice).numpy() < recipe.strip_dr_notes
            shown = some_stripped(train, stripped, chosen_N)
        optimizer.zero_grad()
        for step, every in enumerate(steps_of(order, size, whole=True), start=1):
            part = every[rank::together]
            with accelerator.autocast(), Float32Depthwise() if on_cpu else nullcontext():
                losses = objective(_batch(shown, part, recipe, training=True, states=train_states).to(accelerator.device))
            numbers = _numbers(losses)
            _check_finite(numbers, f"epoch {state.epoch + 1}, batch {step}", out)
            accelerator.backward(losses.total / config.accumulate)
            if step % config.accumulate == 0 or step == steps:
                accelerator.clip_grad_norm_(objective.parameters(), config.clip_norm)
                optimizer.step()
                optimizer.zero_grad()
                if config.schedule is Schedule.COSINE:
                    scheduler.step()
                if average is not None:
                    average.update_parameters(model)
            mean.add(numbers)
            weights |= losses.weights
            if report is not None:
                report(state.epoch + 1, step, steps, mean.means())
        row: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "train": mean.means(),
            "weights": weights,
            "learning_rates": [group["lr"] for group in optimizer.param_groups],
        }
        if validation is not None:
            row["validation"] = _validate(own, validation, recipe, validation_states, accelerator)
            _check_finite(row["validation"], f"the validation after epoch {state.epoch + 1}", out)
            _track(state, row["validation"]["loss"], model, best)
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(row["validation"]["loss"])
        state.epoch += 1
        state.history.append(row)
        if out is not None:
            checkpoint.save(accelerator, state, out)
        if epoch_report is not None:
            epoch_report(row)
    kept = best if best is not None else average
    if kept is not None:
        model.load_state_dict(kept.module.state_dict())
    model.to("cpu").eval()
    return Fitted(history=state.history, best_epoch=state.best_epoch or state.epoch, epochs=state.epoch)


def _track(state: LoopState, loss: float, model: MultimodalModel, best: AveragedModel | None) -> None:
    if state.best_loss is None or loss < state.best_loss:
        state.best_loss, state.best_epoch, state.stalled = loss, state.epoch + 1, 0
        if best is not None:
            best.module.load_state_dict(copy.deepcopy(model.state_dict()))
    else:
        state.stalled += 1
