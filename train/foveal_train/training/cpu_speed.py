"""Make a training step fast on a CPU without changing what it computes for: memory that is kept, bfloat16 where it pays.

Not for GPUs, which need neither. Figures: docs/decisions.md, "What takes the time of a training step".
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from foveal_runtime.serving.memory import trim

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of glibc's mallopt (malloc.h)."""
_DEFAULT_MMAP_MAX, _DEFAULT_TRIM_BYTES = 65536, 128 * 1024


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively; elsewhere it is emulated, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let glibc reuse the memory of freed tensors instead of giving it back and faulting it in page by page at every step.

    Other C libraries are left as they are. What is free is given back at the end.
    """
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_BYTES)
        trim()


class Float32Depthwise(TorchFunctionMode):
    """Depthwise convolutions that oneDNN has no fast bfloat16 backward kernel for run in float32 inside a CPU autocast.

    Those are the ones with a stride or a 5 x 5 kernel; 3 x 3 ones without a stride are fast either way (oneDNN 3.12).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d and torch.is_autocast_enabled("cpu") and _is_slow_in_bf16(args, kwargs or {}):
            x_BCHW, *rest = args
            with torch.autocast("cpu", enabled=False):
                return func(x_BCHW.float(), *rest, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_slow_in_bf16(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """`args` are those of conv2d: input, weight, bias, stride, padding, dilation, groups."""
    if len(args) < 7:
        return int(kwargs.get("groups", 1)) > 1
    weight, stride, groups = args[1], args[3], args[6]
    strides = (stride,) if isinstance(stride, int) else stride
    return groups > 1 and (weight.shape[-1] > 3 or max(strides) > 1)
