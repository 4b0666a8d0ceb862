"""Checkpoints of an unfinished run: everything an exact resume needs, written whole or not at all.

The tensors' plumbing (model, optimizer, scheduler, generators) is `accelerate`'s; this module adds the loop's own
state, the swap from the old checkpoint to the new one, and the check that a resume is of the same run.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from foveal_runtime.errors import DataError

FOLDER = "checkpoint"
_STATE = "loop.json"


@dataclass(kw_only=True, slots=True)
class LoopState:
    """Where the training loop stands between two epochs."""

    epoch: int = 0
    """Epochs finished."""
    best_loss: float | None = None
    best_epoch: int = 0
    stalled: int = 0
    """Epochs since the validation loss last fell."""
    history: list[dict[str, Any]] = field(default_factory=list)


def save(accelerator: Accelerator, state: LoopState, out: Path) -> None:
    """Replace the checkpoint in `out`; a kill at any moment leaves the old one or the new one.

    Raises:
        DataError: the disk is full or the folder can't be written.
    """
    new, current, old = (out / f"{FOLDER}{suffix}" for suffix in (".new", "", ".old"))
    first = accelerator.is_main_process
    try:
        if first:
            for stale in (new, old):
                shutil.rmtree(stale, ignore_errors=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(new))  # each process adds its own generators
        accelerator.wait_for_everyone()
        if first:
            (new / _STATE).write_text(json.dumps(asdict(state), allow_nan=False), encoding="utf-8")
            if current.exists():
                current.rename(old)
            new.rename(current)
            shutil.rmtree(old, ignore_errors=True)
        accelerator.wait_for_everyone()
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        why = getattr(error, "strerror", None) or "the disk may be full"
        raise DataError(f"checkpoint can't be written to {out} ({why}); free space and go on with --resume") from None


def load(accelerator: Accelerator, out: Path) -> LoopState | None:
    """Restore the newest whole checkpoint of `out` into what `accelerator` prepared; None when there is none.

    Raises:
        DataError: the checkpoint is damaged.
    """
    for folder in (out / FOLDER, out / f"{FOLDER}.old"):
        if not (folder / _STATE).is_file():
            continue
        try:
            state = LoopState(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
            accelerator.load_state(str(folder))
        except Exception as error:  # noqa: BLE001 - torch raises many kinds on damaged files
            raise DataError(
                f"checkpoint {folder} can't be read ({type(error).__name__}); train again without --resume"
            ) from None
        return state
    return None


def discard(out: Path) -> None:
    """Remove the checkpoints of a finished run."""
    for suffix in ("", ".new", ".old"):
        shutil.rmtree(out / f"{FOLDER}{suffix}", ignore_errors=True)
