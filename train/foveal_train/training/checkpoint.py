"""Checkpoints of an unfinished run: everything an exact resume needs, written whole or not at all. No pickle.

Safetensors and JSON alone (`statefile`): a run's folder may come from others, and reading a pickle runs what it says.
`accelerate` writes its optimiser, schedule and generators as pickles, so its `save_state` is not used.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from foveal_runtime.errors import DataError
from foveal_train.training.statefile import SUFFIXES, check_like, read_bytes, read_state, write_state

FOLDER = "checkpoint"
_STATE = "loop.json"
_PICKLES = frozenset({".bin", ".pkl", ".pickle", ".pt", ".pth"})
_GENERATORS = "generators-"
"""And the process's number: each has its own."""


class Holder(Protocol):
    """An object with a state, as torch's are."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Take a state."""
        ...


@dataclass(kw_only=True, slots=True)
class LoopState:
    """Where the training loop stands between two epochs."""

    epoch: int = 0
    """Epochs finished."""
    best_loss: float | None = None
    best_epoch: int = 0
    stalled: int = 0
    """Epochs since the grading loss in validation last fell."""
    history: list[dict[str, Any]] = field(default_factory=list)


def save(accelerator: Accelerator, holders: dict[str, Holder], state: LoopState, out: Path) -> None:
    """Replace the checkpoint in `out`; a kill at any moment leaves the old one or the new one.

    Args:
        accelerator: says which process this is; the first one writes what all share.
        holders: model, optimiser and whatever else has a state, by name.
        state: the loop's own.
        out: the run's folder.

    Raises:
        DataError: the disk is full or the folder can't be written.
    """
    new, current, old = (out / f"{FOLDER}{suffix}" for suffix in (".new", "", ".old"))
    first = accelerator.is_main_process
    try:
        if first:
            for stale in (new, old):
                shutil.rmtree(stale, ignore_errors=True)
            new.mkdir(parents=True)
        accelerator.wait_for_everyone()
        write_state(new, f"{_GENERATORS}{accelerator.process_index}", _generators())
        if first:
            for name, holder in holders.items():
                write_state(new, name, holder.state_dict())
        accelerator.wait_for_everyone()
        if first:
            (new / _STATE).write_text(json.dumps(asdict(state), allow_nan=False), encoding="utf-8")
            if current.exists():
                current.rename(old)
            new.rename(current)
            shutil.rmtree(old, ignore_errors=True)
        accelerator.wait_for_everyone()
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        why = getattr(error, "strerror", None) or "the disk may be full"
        raise DataError(f"checkpoint can't be written to {out} ({why}); free space and go on with --resume") from None


def load(accelerator: Accelerator, holders: dict[str, Holder], out: Path) -> LoopState | None:
    """Restore the newest whole checkpoint of `out` into `holders`; None when there is none.

    Raises:
        DataError: the checkpoint is damaged, of another run, or holds anything but safetensors and JSON.
    """
    for folder in (out / FOLDER, out / f"{FOLDER}.old"):
        if not (folder / _STATE).is_file():
            continue
        _check_files(folder, holders)
        try:
            state = _loop_state(folder / _STATE)
            states = {name: read_state(folder, name) for name in holders}
            generators = read_state(folder, f"{_GENERATORS}{accelerator.process_index}")
            for name, holder in holders.items():
                _restore(holder, states[name])
            _set_generators(generators)
        except Exception as error:  # noqa: BLE001 - torch raises many kinds on damaged files
            raise DataError(
                f"checkpoint {folder} can't be read ({type(error).__name__}); train again without --resume"
            ) from None
        return state
    return None


def finished_epochs(out: Path) -> int:
    """Epochs that an unfinished run's newest whole checkpoint holds; 0 without one."""
    for folder in (out / FOLDER, out / f"{FOLDER}.old"):
        if (folder / _STATE).is_file():
            try:
                return _loop_state(folder / _STATE).epoch
            except (ValueError, TypeError, OSError):
                continue
    return 0


def discard(out: Path) -> None:
    """Remove the checkpoints of a finished run."""
    for suffix in ("", ".new", ".old"):
        shutil.rmtree(out / f"{FOLDER}{suffix}", ignore_errors=True)


def _check_files(folder: Path, holders: dict[str, Holder]) -> None:
    """Refuse a folder with other files than `save` writes, before any is read."""
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICKLES:
            raise DataError(
                f"checkpoint {folder} holds pickles ({path.name!r}), as older foveals wrote them; reading one runs what it"
                " says, so it is refused: train again without --resume, or finish this run with the foveal that began it"
            )
        known = path.name == _STATE or (
            path.suffix in SUFFIXES and (path.stem in holders or path.stem.removeprefix(_GENERATORS).isdigit())
        )
        if not known or path.is_symlink() or not path.is_file():
            raise DataError(
                f"checkpoint {folder} holds {path.name!r}, which foveal does not write for this recipe; train again without"
                " --resume"
            )


def _loop_state(path: Path) -> LoopState:
    document = json.loads(read_bytes(path, most=64 << 20))
    state = LoopState(**document)
    numbers = (state.epoch, state.best_epoch, state.stalled)
    best = state.best_loss
    if not all(type(each) is int and each >= 0 for each in numbers) or not (best is None or type(best) in {int, float}):
        raise ValueError("no state of a loop")
    if type(state.history) is not list or len(state.history) != state.epoch:
        raise ValueError("no history of a loop")
    return state


def _restore(holder: Holder, state: dict[str, Any]) -> None:
    """Give an object its state, once it is known to be of the same form as what the object has."""
    own = holder.state_dict()
    if isinstance(holder, torch.optim.Optimizer):
        check_like({**state, "state": {}}, {**own, "state": {}})
        # What an optimiser keeps of a parameter is there from the first step on.
        shapes = dict(enumerate(each.shape for group in holder.param_groups for each in group["params"]))
        for number, kept in state["state"].items():
            check_like(kept, {"step": torch.zeros(()), "exp_avg": torch.zeros(()), "exp_avg_sq": torch.zeros(())})
            if {kept["exp_avg"].shape, kept["exp_avg_sq"].shape} != {shapes[number]} or kept["step"].numel() != 1:
                raise ValueError("other shapes")
    else:
        check_like(state, own)
    holder.load_state_dict(state)


def _generators() -> dict[str, Any]:
    """The state of every generator that a training may draw from."""
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_key = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": {
            "key": numpy_key,
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_generators(state: dict[str, Any]) -> None:
    held = state["numpy"]
    np.random.set_state(
        {
            "bit_generator": "MT19937",
            "state": {"key": held["key"].numpy().astype(np.uint32), "pos": held["pos"]},
            "has_gauss": held["has_gauss"],
            "gauss": held["gauss"],
        }
    )
    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
