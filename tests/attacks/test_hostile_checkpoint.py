"""Checkpoints that were made to run something, or are damaged: `--resume` refuses them by name and runs nothing."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from foveal_runtime.errors import DataError
from foveal_train.training import checkpoint
from foveal_train.training.checkpoint import FOLDER, Holder, LoopState
from foveal_train.training.statefile import read_state, write_state


class Touch:
    """What reading this pickle does: it makes a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self._canary}",)


def holders() -> dict[str, Holder]:
    """A model whose training has begun."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for _ in range(3):
        model(torch.randn(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
    scheduler.step(1.0)
    return {"objective": model, "optimizer": optimizer, "scheduler": scheduler}


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture
def run(tmp_path: Path, accelerator: Accelerator) -> Path:
    """A run's folder with a whole checkpoint."""
    out = tmp_path / "run"
    out.mkdir()
    checkpoint.save(accelerator, holders(), LoopState(epoch=1, best_loss=0.5, best_epoch=1, history=[{"epoch": 1}]), out)
    return out


def test_a_checkpoint_is_safetensors_and_json_alone_and_gives_back_everything(run: Path, accelerator: Accelerator) -> None:
    assert {path.suffix for path in (run / FOLDER).iterdir()} == {".json", ".safetensors"}
    drawn = (random.random(), np.random.normal(), torch.randn(3).tolist())
    checkpoint.save(accelerator, holders(), LoopState(), run)
    expected = (random.random(), np.random.normal(), torch.randn(3).tolist())
    assert drawn != expected
    fresh, source = holders(), holders()
    with torch.no_grad():
        for parameter in fresh["objective"].parameters():  # type: ignore[attr-defined]
            parameter.zero_()
    assert checkpoint.load(accelerator, fresh, run) == LoopState()
    assert (random.random(), np.random.normal(), torch.randn(3).tolist()) == expected
    kept = fresh["optimizer"].state_dict()["state"][0]["exp_avg"]
    assert kept.is_contiguous(memory_format=torch.channels_last), "adding up in another order gives another sum"
    for name in fresh:
        write_state(run, f"a-{name}", fresh[name].state_dict())
        write_state(run, f"b-{name}", source[name].state_dict())
        for suffix in (".json", ".safetensors"):
            assert (run / f"a-{name}{suffix}").read_bytes() == (run / f"b-{name}{suffix}").read_bytes()


def test_every_kind_of_value_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"a": (1, [2.5, float("inf")], None, True, "x"), 7: {}, "t": torch.arange(3), "half": torch.ones(2).bfloat16()}
    write_state(tmp_path, "s", state)
    found = read_state(tmp_path, "s")
    assert {key: found[key] for key in ("a", 7)} == {key: state[key] for key in ("a", 7)}
    assert torch.equal(found["t"], torch.arange(3))
    assert found["half"].dtype is torch.bfloat16
    with pytest.raises(TypeError, match="no part of a state"):
        write_state(tmp_path, "s", {"f": print})


@pytest.mark.parametrize("name", ["optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl", "a.pt", "a.pth"])
def test_a_pickle_in_the_folder_is_refused_by_name_and_not_read(
    name: str, run: Path, accelerator: Accelerator, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    torch.save(Touch(canary), run / FOLDER / name)
    with pytest.raises(DataError, match=rf"{name}.*train again without --resume"):
        checkpoint.load(accelerator, holders(), run)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["optimizer.json", "optimizer.safetensors", "objective.safetensors", "generators-0.json"])
def test_a_pickle_under_a_good_name_is_refused_and_not_read(
    name: str, run: Path, accelerator: Accelerator, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    (run / FOLDER / name).write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises(DataError, match=r"can't be read .*train again without --resume"):
        checkpoint.load(accelerator, holders(), run)
    assert not canary.exists()


def test_torch_would_have_run_it(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save(Touch(canary), tmp_path / "optimizer.bin")
    torch.load(tmp_path / "optimizer.bin", weights_only=False)
    assert canary.exists()


def _edit(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        text = (folder / file).read_text()
        assert change(text) != text
        (folder / file).write_text(change(text))

    return work


def _other_shape(folder: Path) -> None:
    tensors = load_file(folder / "optimizer.safetensors")
    save_file({name: torch.zeros(tensor.numel() + 1) for name, tensor in tensors.items()}, folder / "optimizer.safetensors")


def _link(folder: Path) -> None:
    (folder / "scheduler.json").rename(folder.parent / "elsewhere.json")
    (folder / "scheduler.json").symlink_to(folder.parent / "elsewhere.json")


def _pipe(folder: Path) -> None:
    (folder / "scheduler.json").unlink()
    os.mkfifo(folder / "scheduler.json")


DAMAGED: dict[str, Callable[[Path], None]] = {
    "cut JSON": _edit("optimizer.json", lambda text: text[:-9]),
    "deep JSON": _edit("scheduler.json", lambda _: '{"list": [' * 50_000),
    "a method of the scheduler": _edit("scheduler.json", lambda text: text.replace('["factor"', '["step"', 1)),
    "one attribute more": _edit("scheduler.json", lambda text: text.replace("[[", '[["step", 5], [', 1)),
    "a rate that is a string": _edit("optimizer.json", lambda text: text.replace('["lr", 0.1]', '["lr", "x"]')),
    "an epoch that is a string": _edit("loop.json", lambda text: text.replace('"epoch": 1', '"epoch": "1"', 1)),
    "more of the loop": _edit("loop.json", lambda text: text.replace("{", '{"implant": 1, ', 1)),
    "a tensor that is not there": _edit("objective.json", lambda text: text.replace('"t1"', '"t99"')),
    "moments of another shape": _other_shape,
    "missing file": lambda folder: (folder / "generators-0.safetensors").unlink(),
    "added file": lambda folder: (folder / "implant.py").write_text(""),
    "added folder": lambda folder: (folder / "implant").mkdir(),
    "cut tensors": lambda folder: os.truncate(folder / "objective.safetensors", 100),
    "a link": _link,
    "a pipe": _pipe,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_refused_by_name(name: str, run: Path, accelerator: Accelerator) -> None:
    DAMAGED[name](run / FOLDER)
    with pytest.raises(DataError, match="train again without --resume") as caught:
        checkpoint.load(accelerator, holders(), run)
    assert str(caught.value).isprintable()
