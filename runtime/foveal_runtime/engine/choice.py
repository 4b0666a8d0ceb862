"""What `--provider auto` means for a bundle on this machine: the best that is there. Measures nothing.

A GPU comes first. On the processor ONNX Runtime's own kernels are taken, unless `foveal compile --provider auto` has raced
another provider against them here, with the same parity gate, and kept that it is faster.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.manifest import Target
from foveal_runtime.engine.cachefolder import check_private, replace_file
from foveal_runtime.engine.compiled import entry_folder
from foveal_runtime.engine.gpu import nvidia_driver
from foveal_runtime.engine.plugins import is_built_in, lacks
from foveal_runtime.engine.providers import PLUGINS, Provider
from foveal_runtime.engine.session import provider_of
from foveal_runtime.errors import ConfigError

AUTO = "auto"
FASTER = 1.1
"""How many times as fast as ONNX Runtime's own kernels another provider has to be: less is within what a machine's moods do."""
_FILE = "provider.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A provider and the reason for it."""

    provider: Provider
    why: str


def resolve(name: str, bundle: Bundle) -> Choice:
    """The provider that a name means for a bundle.

    Args:
        name: a provider's, or `auto`.
        bundle: an opened bundle.

    Raises:
        ConfigError: there is no such provider.
    """
    if name != AUTO:
        return Choice(provider=provider_of(name), why="as asked")
    lacking = []
    for provider in on_gpu(bundle.manifest.target):
        reason = unusable(provider)
        if not reason:
            return Choice(provider=provider, why="the first of those for a GPU that can be used here")
        lacking.append(f"{provider.value}: {reason}")
    return _on_processor(bundle, "; ".join(lacking))


def on_gpu(target: Target) -> tuple[Provider, ...]:
    """Providers of a GPU that take bundles of a target, best first."""
    if target is Target.TENSORRT:
        return Provider.TENSORRT_RTX, Provider.TENSORRT, Provider.CUDA
    return (Provider.CUDA,)


def unusable(provider: Provider) -> str:
    """Why a provider can't be used on this machine, in one line; empty when it can.

    Raises:
        ConfigError: no ONNX Runtime is installed.
    """
    if provider in PLUGINS:
        return lacks(provider)
    if not is_built_in(provider):
        return "the installed ONNX Runtime has none; install foveal[gpu]"
    if provider is Provider.CPU:
        return ""
    driver = nvidia_driver()
    if driver is None or not driver.gpus:
        return "no NVIDIA driver answers; install one (in a container: start it with its GPUs)"
    if provider is Provider.TENSORRT and importlib.util.find_spec("tensorrt") is None:
        return "TensorRT's libraries are not installed; install foveal[gpu]"
    return ""


def keep(bundle: Bundle, ms: Mapping[Provider, float]) -> Choice:
    """Choose among providers of the processor that were raced, and remember it for `auto` on this machine.

    Args:
        bundle: that was raced; every provider named has replayed its golden studies within tolerance.
        ms: per study, by provider; the CPU's is among them.

    Raises:
        ConfigError: the cache folder can't be written, or is not this user's alone.
    """
    folder = entry_folder(bundle.sha256, AUTO)
    try:
        replace_file(folder / _FILE, json.dumps({"ms": {provider.value: value for provider, value in ms.items()}}) + "\n")
    except OSError as error:
        raise ConfigError(f"{folder} can't be written ({error.strerror}); free space, or set FOVEAL_CACHE") from None
    return _fastest(ms)


def _on_processor(bundle: Bundle, lacking: str) -> Choice:
    raced = _kept(bundle)
    if raced is None:
        return Choice(provider=Provider.CPU, why=f"no GPU can be used ({lacking})")
    found = _fastest(raced)
    reason = lacks(found.provider) if found.provider in PLUGINS else ""
    return Choice(provider=Provider.CPU, why=f"{found.provider.value}: {reason}") if reason else found


def _fastest(ms: Mapping[Provider, float]) -> Choice:
    own = ms[Provider.CPU]
    best = min(ms, key=lambda provider: ms[provider])
    ratios = ", ".join(f"{provider.value} {own / value:.2f}x" for provider, value in ms.items() if provider is not Provider.CPU)
    if own / ms[best] >= FASTER:
        return Choice(provider=best, why=f"`foveal compile` measured, against cpu: {ratios}")
    return Choice(provider=Provider.CPU, why=f"`foveal compile` measured, against it: {ratios}; {FASTER:g}x is asked for")


def _kept(bundle: Bundle) -> dict[Provider, float] | None:
    """What was raced here; None when nothing was, or when it can't be read or trusted: it is only a cache."""
    folder = entry_folder(bundle.sha256, AUTO)
    if not (folder / _FILE).exists():
        return None
    try:
        check_private(folder)
        ms = {Provider(name): float(value) for name, value in json.loads((folder / _FILE).read_text("utf-8"))["ms"].items()}
    except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ms if Provider.CPU in ms and all(value > 0 for value in ms.values()) else None
