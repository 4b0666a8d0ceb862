"""The weights that a training keeps besides those it is at: their moving average, and its best epoch's. Trains nothing."""

from __future__ import annotations

import copy

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from foveal_train.training.checkpoint import Holder
from foveal_train.training.recipe import Keep, OptimiserConfig


class KeptWeights:
    """Copies of a model's weights, as its recipe asks for them."""

    def __init__(self, model: nn.Module, config: OptimiserConfig, *, validated: bool) -> None:
        """Args:
        model: of the training, on its device.
        config: `ema` and `keep`.
        validated: whether there are studies that say which epoch is best.
        """
        average = get_ema_multi_avg_fn(config.ema)
        self._average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if config.ema else None
        self._best = AveragedModel(model) if config.keep is Keep.BEST and validated else None

    def updated(self, model: nn.Module) -> None:
        """Take the weights of a step into the average."""
        if self._average is not None:
            self._average.update_parameters(model)

    def improved(self, model: nn.Module) -> None:
        """Take the weights of an epoch that is better than all before."""
        if self._best is not None:
            self._best.module.load_state_dict(copy.deepcopy(model.state_dict()))

    def give(self, model: nn.Module) -> None:
        """Put what is kept into the model: the best epoch's, else the average; where neither is kept it stays as it is."""
        kept = self._best if self._best is not None else self._average
        if kept is not None:
            model.load_state_dict(kept.module.state_dict())

    @property
    def holders(self) -> dict[str, Holder]:
        """What a checkpoint keeps of it."""
        named = {"average": self._average, "best": self._best}
        return {name: holder for name, holder in named.items() if holder is not None}
