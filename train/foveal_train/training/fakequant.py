"""INT8's rounding inside a training step (Jacob et al. 2018), by the scheme that `foveal export` writes. Writes no graph.

Weights of convolutions and linear layers are rounded to 63 (seven bits) or 127 steps either way, a scale per output channel.
Batch normalisation scales whole channels, so a weight that lies on its steps lies on them when export has folded it: `settle`
leaves the run's weights there, and what export rounds to the nearest then is exact, on every processor. Activations are rounded
to 255 steps between the ends of a range that holds 0: of a batch's running means in the photograph's encoder and the fusion, of
each study by itself in the note's encoder, as `DynamicQuantizeLinear` does it. In a CNN the two leading blocks stay in
floating point, outputs of the other convolutions are rounded behind their activation, and sums of two such maps once more.
Gradients go through as if nothing had been rounded, and stop where a range clips.

Which tensor is rounded follows from the calls that a forward pass makes, whatever its modules are called; embedding tables and
the record's encoder, which INT8 hardly touches, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from foveal_runtime.study.study import Modality
from foveal_train.model.blocks import FLOAT_BLOCKS, block_of
from foveal_train.model.model import MultimodalModel
from foveal_train.training.checkpoint import Holder
from foveal_train.training.recipe import Recipe
from foveal_train.training.student import QuantisationConfig

_STEPS = 255
_RATE = 0.05
"""Weight of a batch in the running means of its ranges, once there are twenty."""
_NORMS = frozenset({F.batch_norm, torch.batch_norm})
_PASSIVE = frozenset({F.relu, F.relu_, torch.relu, torch.relu_, F.relu6, F.hardtanh, F.hardtanh_, Tensor.relu, Tensor.relu_})
"""Activations that a quantised convolution absorbs: the range behind them is the one that counts."""
_QUESTIONS = frozenset({"__get__", "size", "dim", "numel", "is_floating_point", "is_contiguous", "stride"})
"""Calls that read no value of a tensor."""
_ADDS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__})


@dataclass(slots=True)
class _Map:
    """What is known of a feature map of a CNN."""

    in_int8: bool
    """Whether the convolution, or the sum, that made it is quantised."""
    pending: str = ""
    """Name of its range, while it is not rounded yet: an activation may follow."""
    rounded: Tensor | None = None
    """Itself, rounded."""


class FakeQuantised(TorchFunctionMode):
    """While it is entered, forward passes of one model round as its INT8 graphs will. Its ranges are learnt while training."""

    def __init__(
        self, model: MultimodalModel, config: QuantisationConfig, modalities: Sequence[Modality], side_px: int
    ) -> None:
        """Args:
        model: on its device; one pass of its photograph's encoder is made.
        config: bits of a weight.
        modalities: encoders of the others stay as they are.
        side_px: of the photographs.
        """
        super().__init__()
        self._limit = 2 ** (config.weight_bits - 1) - 1
        self._weights = dict(_weights(model, modalities))
        self._names = {id(weight): name for name, weight in self._weights.items()}
        self._alone = Modality.TEXT.value + "."
        self._ranges: dict[str, Tensor] = {}
        """Lowest and highest value, each a running mean over batches."""
        self._seen: dict[str, int] = {}
        """Batches in it."""
        self._maps: Any = WeakIdKeyDictionary()
        self._rounded: dict[str, Tensor] = {}
        self._sums = 0
        self._learning = False
        device, was_training = next(model.parameters()).device, model.training
        if Modality.IMAGE in modalities:
            with torch.inference_mode(), self:
                model.eval().image(torch.zeros(1, 3, side_px, side_px, device=device))
            model.train(was_training)
        # A pass has named the sums; the others' names are known without one.
        names = dict.fromkeys((*self._ranges, *self._weights))
        self._ranges = {name: torch.zeros(2, device=device) for name in names}
        self._seen = dict.fromkeys(names, 0)

    def __enter__(self) -> FakeQuantised:
        self._sums = 0
        self._rounded.clear()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._maps.clear()
        self._rounded.clear()

    def learning(self, on: bool) -> FakeQuantised:
        """Whether passes move the ranges: those of training do, those of validation do not."""
        self._learning = on
        return self

    def state_dict(self) -> dict[str, Any]:
        """Of a checkpoint."""
        return {"ranges": torch.stack(list(self._ranges.values())), "seen": torch.tensor(list(self._seen.values()))}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Inverse of `state_dict`."""
        for own, given in zip(self._ranges.values(), state["ranges"], strict=True):
            own.copy_(given)
        self._seen = dict(zip(self._seen, state["seen"].tolist(), strict=True))

    @torch.no_grad()
    def settle(self) -> None:
        """Leave the model's weights on their steps, in place."""
        for weight in self._weights.values():
            weight.copy_(self._rounded_weight(weight))

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in (F.conv2d, F.linear):
            return self._product(func, args, given)
        if func in _NORMS or func in _PASSIVE:
            known = self._maps.get(args[0])
            if known is None or not known.pending:
                return self._unknown(func(*args, **given))
            out = func(*args, **given)
            self._maps[out] = _Map(known.in_int8, known.pending)
            return self._whole(out) if func in _PASSIVE else out
        if func is F.pad and args[0] in self._maps:
            # With zeros, which every range holds. Export hands the padding to the convolution.
            known, out = self._maps[args[0]], func(self._whole(args[0]), *args[1:], **given)
            self._maps[out] = _Map(known.in_int8)
            return out
        if func in _ADDS and len(args) > 1 and all(isinstance(each, Tensor) and each in self._maps for each in args[:2]):
            return self._sum(func, args, given)
        if getattr(func, "__name__", "") in _QUESTIONS:
            return func(*args, **given)
        read = {name: self._read(each) for name, each in given.items()}
        return self._unknown(func(*(self._read(each) for each in args), **read))

    def _unknown(self, out: Any) -> Any:
        """A result of which nothing is known, even if it is an argument that was changed in place."""
        if isinstance(out, Tensor) and out in self._maps:
            del self._maps[out]
        return out

    def _read(self, value: Any) -> Any:
        """An argument, with the tensors in it as whoever reads them finds them."""
        if isinstance(value, list | tuple) and type(value) in (list, tuple):
            return type(value)(self._read(each) for each in value)
        return self._whole(value) if isinstance(value, Tensor) else value

    def _product(self, func: Callable[..., Tensor], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        x, weight, *rest = args
        name = self._names.get(id(weight))
        x = self._whole(x)
        if name is not None:
            known = self._maps.get(x)
            if known is None or not known.in_int8:
                x = self._activation(x, name)
            if name not in self._rounded:  # several passes share a step's weights
                self._rounded[name] = self._rounded_weight(weight)
            weight = self._rounded[name]
        out = func(x, weight, *rest, **kwargs)
        if func is F.conv2d:
            self._maps[out] = _Map(name is not None, "" if name is None else f"{name}:out")
        return out

    def _sum(self, func: Callable[..., Tensor], args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
        """A residual: of two maps in INT8 it stays in INT8."""
        in_int8 = all(self._maps[each].in_int8 for each in args[:2])
        out = func(*(self._whole(each) for each in args[:2]), *args[2:], **kwargs)
        self._sums += 1
        self._maps[out] = _Map(in_int8, f"sum {self._sums}" if in_int8 else "")
        return self._whole(out)

    def _whole(self, x: Tensor) -> Tensor:
        """A tensor as whoever reads it now finds it: rounded, if it is the map of a quantised convolution."""
        known = self._maps.get(x)
        if known is None or not known.pending:
            return x
        if known.rounded is None:
            known.rounded = self._activation(x, known.pending)
            self._maps[known.rounded] = _Map(known.in_int8)
        return torch.as_tensor(known.rounded)

    def _activation(self, x: Tensor, name: str) -> Tensor:
        if name.startswith(self._alone):
            return _rounded_alone(x)
        range_ = self._ranges.setdefault(name, torch.zeros(2, device=x.device))
        seen = self._seen.get(name, 0)
        if self._learning or not seen:
            last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
            # As it lies in memory: eleven times as fast on a CPU.
            low, high = (x.permute(0, 2, 3, 1) if last else x).detach().float().aminmax()
            ends = torch.stack([low.clamp(max=0), high.clamp(min=0)])
            range_ = range_.lerp(ends, max(1 / (seen + 1), _RATE))
            if self._learning:
                self._ranges[name].copy_(range_)
                self._seen[name] = seen + 1
        scale = ((range_[1] - range_[0]) / _STEPS).clamp(min=1e-8)
        zero = torch.round(-range_[0] / scale).clamp(0, _STEPS).to(torch.int32)
        if x.device.type == "cpu":
            return torch.as_tensor(_Rounded.apply(x.float(), float(scale), int(zero)))
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, _STEPS)

    def _rounded_weight(self, weight: Tensor) -> Tensor:
        largest = weight.detach().float().abs().flatten(1).amax(1)
        scale = largest.clamp(min=1e-8) / self._limit
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero, 0, -self._limit, self._limit)


class _Rounded(torch.autograd.Function):
    """`torch.fake_quantize_per_tensor_affine`, four times as fast on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, zero: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.ends = (-zero - 0.5) * scale, (_STEPS - zero + 0.5) * scale
        return x.div(scale).round_().clamp_(-zero, _STEPS - zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], x, *ctx.ends), None, None


def _rounded_alone(x: Tensor) -> Tensor:
    """Each study, the first axis, in a range of its own."""
    flat = x.detach().float().flatten(1)
    shape = (-1,) + (1,) * (x.dim() - 1)
    low, high = flat.amin(1).clamp(max=0).view(shape), flat.amax(1).clamp(min=0).view(shape)
    scale = ((high - low) / _STEPS).clamp(min=1e-8)
    zero = torch.round(-low / scale)
    rounded = (torch.round(x.detach() / scale + zero).clamp(0, _STEPS) - zero) * scale
    return x + (rounded - x.detach())


def _weights(model: MultimodalModel, modalities: Sequence[Modality]) -> Iterator[tuple[str, Tensor]]:
    """Weights that INT8 rounds, by name; those of a CNN's leading blocks are left out."""
    parts = [part.value for part in (Modality.IMAGE, Modality.TEXT) if part in modalities]
    for part in (*parts, "fusion"):
        found = {
            name: module
            for name, module in model.get_submodule(part).named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        }
        is_cnn = sum(isinstance(module, nn.Conv2d) for module in found.values()) > 1
        kept = list(dict.fromkeys(block_of(f"{name}/") for name in found))[: FLOAT_BLOCKS if is_cnn else 0]
        for name, module in found.items():
            if block_of(f"{name}/") not in kept:
                yield f"{part}.{name}", module.weight


class RoundedEpochs:
    """The last epochs of a training, as its recipe asks for them; none where export alone rounds."""

    def __init__(self, model: MultimodalModel, recipe: Recipe) -> None:
        """Args:
        model: on its device.
        recipe: `quantisation` and how many epochs there are.
        """
        self._first = recipe.optimiser.epochs - recipe.quantisation.epochs
        self._model, self._rounding = model, None
        if recipe.quantisation.epochs:
            self._rounding = FakeQuantised(model, recipe.quantisation, recipe.modalities, recipe.model.image_spec.side_px)

    def begin(self, epoch: int) -> bool:
        """Prepare the model, in training mode, for an epoch counted from 0; whether it is the first under rounding.

        Batch normalisation then keeps its running statistics, as graphs have it: a step rounds what they round.
        """
        if self._rounding is None or epoch < self._first:
            return False
        for module in self._model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return epoch == self._first

    def around(self, epoch: int, otherwise: AbstractContextManager[Any], *, learning: bool) -> AbstractContextManager[Any]:
        """In which a pass of an epoch is made: rounded and in float32, or `otherwise`."""
        return otherwise if self._rounding is None or epoch < self._first else self._rounding.learning(learning)

    def settle(self) -> None:
        """Leave the model's weights where they were rounded to, once training is over."""
        if self._rounding is not None:
            self._rounding.settle()

    @property
    def holders(self) -> dict[str, Holder]:
        """What a checkpoint keeps of it."""
        return {} if self._rounding is None else {"rounding": self._rounding}
