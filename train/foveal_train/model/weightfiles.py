"""Files of pretrained weights: found, read without running what they say, and matched to a model by name. Builds nothing.

Checkpoints of foundation models wrap their tensors in their own ways; those of timm's families, RETFound (`{"model", "args"}`),
DINOv2 (`{"teacher"}`) and FLAIR (the image tower of a larger model) are unwrapped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal_runtime.errors import ConfigError

FILES = ("model.safetensors", "pytorch_model.bin")
"""Of a repository of the hub, in the order in which they are taken."""
_WRAPPERS = ("state_dict", "model", "teacher", "model_state_dict")
_PREFIXES = ("module.", "backbone.", "encoder.", "vision_model.model.", "visual.trunk.", "model.")
"""Under which checkpoints keep the encoder: of data parallelism, DINO's teachers, FLAIR's and CLIP's image towers."""


def three_ways(part: str, tried: str, why: str) -> ConfigError:
    """The error of weights that can't be had, with what to do.

    Args:
        part: `image` or `text`.
        tried: where they were looked for.
        why: what was wrong there.
    """
    return ConfigError(
        f"{part} weights can't be had from {tried} ({why}); three ways out: let the hub be reached ({part}.weights=hub), "
        f"name a local file or folder (--set {part}.weights=PATH), or start untrained on purpose (--set {part}.weights=random)"
    )


def local_weights(path: Path, part: str) -> Path:
    """A file of weights, or the one in a folder in the hub's layout.

    Raises:
        ConfigError: there is none, or they are spread over several files.
    """
    if path.is_file():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    what = f"holds none of {', '.join(FILES)}" if path.is_dir() else "does not exist"
    raise three_ways(part, str(path), f"it {what}")


def read_state(path: Path, part: str) -> dict[str, Tensor]:
    """Tensors by name; what else a checkpoint holds beside them is left.

    Raises:
        ConfigError: the file can't be read, or holds no tensors by name.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # RETFound and MAE keep the arguments of their training beside the weights; a Namespace runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - readers raise anything on damaged files
        raise ConfigError(f"{part} weights at {path} can't be read ({type(error).__name__}); name an intact file") from None
    while isinstance(state, Mapping) and (inside := next((name for name in _WRAPPERS if _holds(state, name)), None)):
        state = state[inside]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{part} weights at {path} hold no tensors by name; name a state-dict file")
    return dict(state)


def _holds(state: Mapping[Any, Any], name: str) -> bool:
    return isinstance(state.get(name), Mapping)


def match_state(state: dict[str, Tensor], model: nn.Module, origin: str, *, by_order: bool = False) -> dict[str, Tensor]:
    """`state` under the names of `model`, with position embeddings at its resolution where timm knows how.

    Args:
        state: tensors by name.
        model: whose names are wanted; it may lack some of the state's.
        origin: where they come from, for the message.
        by_order: tensors may be taken one for one in their order. Right for a file that is known to the byte alone: two
            layers of one shape that another exporter wrote the other way round would load without a word.

    Raises:
        ConfigError: they do not match.
    """
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # old files lack these counters
    for prefix in ("", *_PREFIXES):
        found = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        found = _converted(found, model) if found else found
        if set(own) - counters <= set(found):
            wrong = [name for name in own if name in found and found[name].shape != own[name].shape]
            if wrong:
                shapes = f"{tuple(found[wrong[0]].shape)} for {tuple(own[wrong[0]].shape)}"
                raise ConfigError(
                    f"{origin} does not fit the encoder: {len(wrong)} of {len(own)} tensors have other shapes, for example "
                    f"{wrong[0]} {shapes}; name weights of the same architecture"
                )
            return {name: found[name] for name in own if name in found}
    shapes_agree = len(own) == len(state) and all(a.shape == b.shape for a, b in zip(own.values(), state.values(), strict=True))
    if by_order and shapes_agree:
        return dict(zip(own, state.values(), strict=True))
    missing = sorted(set(own) - set(state))
    raise ConfigError(
        f"{origin} does not fit the encoder: {len(missing)} of {len(own)} tensors are missing, for example {missing[0]}; "
        "name weights of the same architecture"
    )


def _converted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """By timm's own converter of the model's family, which also resamples position embeddings."""
    convert: Callable[..., dict[str, Tensor]] | None = getattr(
        sys.modules[type(model).__module__], "checkpoint_filter_fn", None
    )
    if convert is None:
        return state
    try:
        return convert(dict(state), model)
    except (KeyError, RuntimeError, AttributeError, ValueError, TypeError):
        return state  # of another family: the names will say so
