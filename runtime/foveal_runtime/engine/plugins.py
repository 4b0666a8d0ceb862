"""ONNX Runtime's plugin providers: registered once in a process; in one line what one lacks here. Opens no session."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from typing import Any

from foveal_runtime.engine.gpu import Driver, nvidia_driver
from foveal_runtime.engine.ort import ort_module, ort_version
from foveal_runtime.engine.providers import ORT_NAMES, PLUGINS, Provider
from foveal_runtime.errors import ConfigError

_RTX_CUDA = (13, 0)
_RTX_DRIVER = "580"
"""The first driver that runs CUDA 13."""
_RTX_ARCHITECTURES = frozenset({(8, 6), (8, 9)})
_RTX_FROM = (12, 0)
"""Compute capabilities that the plugin takes: 8.6, 8.9, and 12.0 or newer."""
_OPENVINO_VENDOR = "Intel"


def is_built_in(provider: Provider) -> bool:
    """Whether the installed ONNX Runtime was built with a provider.

    Raises:
        ConfigError: no ONNX Runtime is installed.
    """
    # A plugin that was registered is listed too.
    plugged = provider in PLUGINS and importlib.util.find_spec(PLUGINS[provider].module) is not None
    return not plugged and ORT_NAMES[provider] in ort_module().get_available_providers()


def plugin_devices(provider: Provider) -> list[Any]:
    """ONNX Runtime's devices of a plugin provider, which is registered in this process when it is first asked for.

    Args:
        provider: one of `PLUGINS`.

    Raises:
        ConfigError: it is not installed, does not load, or has nothing to run on here.
    """
    lacking = lacks(provider)
    if lacking:
        raise ConfigError(f"provider {provider.value!r} can't be used here: {lacking}")
    return list(_registered(provider))


def lacks(provider: Provider) -> str:
    """What a plugin provider lacks on this machine and the mend, in one line; empty when nothing, or where it is built in."""
    if is_built_in(provider):
        return ""
    plugin = PLUGINS[provider]
    if importlib.util.find_spec(plugin.module) is None:
        return f"its package is not installed; install foveal[{plugin.extra}]"
    if not hasattr(ort_module(), "register_execution_provider_library"):
        return f"{ort_version()} knows no plugin providers; install onnxruntime 1.24 or newer"
    if provider is Provider.TENSORRT_RTX and (reason := _unfit(nvidia_driver())):
        return reason
    try:
        devices = _registered(provider)
    except ConfigError as error:
        return str(error)
    if devices:
        return ""
    vendor = _processor_vendor()
    if provider is Provider.OPENVINO and vendor and vendor != _OPENVINO_VENDOR:
        return (
            f"its plugin takes {_OPENVINO_VENDOR}'s processors alone and this one is {vendor}'s; install onnxruntime-openvino "
            f"in place of onnxruntime"
        )
    return "ONNX Runtime lists no device for it; look at the driver and its libraries, or use --provider cpu"


def _processor_vendor() -> str:
    """As ONNX Runtime read it; empty where it lists no processor."""
    own = (device for device in ort_module().get_ep_devices() if device.ep_name == ORT_NAMES[Provider.CPU])
    return next((str(device.device.vendor) for device in own), "")


def _unfit(driver: Driver | None) -> str:
    """Why TensorRT for RTX can't run under a driver; empty when it can."""
    if driver is None:
        return f"no NVIDIA driver answers; install {_RTX_DRIVER} or newer (in a container: start it with its GPUs)"
    if driver.cuda < _RTX_CUDA:
        return (
            f"NVIDIA's driver {driver.version} runs CUDA up to {driver.cuda[0]}.{driver.cuda[1]} and 13.0 is needed; "
            f"install driver {_RTX_DRIVER} or newer"
        )
    if not any(gpu.capability in _RTX_ARCHITECTURES or gpu.capability >= _RTX_FROM for gpu in driver.gpus):
        present = ", ".join(map(str, driver.gpus)) or "no GPU"
        return (
            f"it runs on compute capability 8.6, 8.9 and from 12.0 on, and this machine has {present}; "
            f"use --provider cuda or tensorrt"
        )
    return ""


@functools.cache
def _registered(provider: Provider) -> tuple[Any, ...]:
    """Register the library for as long as this process lives; the devices it can run on.

    Raises:
        ConfigError: the library does not load.
    """
    ort, name = ort_module(), ORT_NAMES[provider]
    try:
        module = importlib.import_module(PLUGINS[provider].module)
        ort.register_execution_provider_library(name, module.get_library_path())
        devices = [device for device in ort.get_ep_devices() if device.ep_name == name]
    except Exception as error:  # noqa: BLE001 - a foreign library is loaded here
        # Which of its libraries is missing or too new, each plugin says by an exception of its own.
        raise ConfigError(
            f"its library does not load ({_first_line(error)}); install foveal[{PLUGINS[provider].extra}] again"
        ) from None
    if provider is Provider.OPENVINO:
        devices = [device for device in devices if device.ep_metadata.get("ov_device") == "CPU"]
    return tuple(devices)


def _first_line(error: Exception) -> str:
    text = ""
    with contextlib.suppress(IndexError):
        text = str(error).strip().splitlines()[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
