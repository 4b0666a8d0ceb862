"""What a machine has for a check, and what it lacks for the GPU's half. Asks; starts nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from foveal_runtime.engine.choice import unusable
from foveal_runtime.engine.gpu import nvidia_driver
from foveal_runtime.engine.ort import ort_version, usable_cores
from foveal_runtime.engine.processor import this_processor
from foveal_runtime.engine.providers import Provider, on_processor


def machine() -> dict[str, Any]:
    """Facts for the report: no host, no user, no path."""
    import torch

    import foveal_runtime

    driver = nvidia_driver()
    return {
        "foveal": foveal_runtime.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": {"class": str(this_processor()), "model": this_processor().model, "cores": usable_cores()},
        "gpus": [] if driver is None else [str(gpu) for gpu in driver.gpus],
        "driver": None if driver is None else {"version": driver.version, "cuda": f"{driver.cuda[0]}.{driver.cuda[1]}"},
        "onnxruntime": ort_version(),
        "torch": {"version": torch.__version__, "cuda": torch.version.cuda, "sees_gpu": torch.cuda.is_available()},
        "packages": _packages(),
    }


def providers() -> dict[str, str]:
    """Why each provider can't be used here, in one line; empty where it can."""
    return {provider.value: unusable(provider) for provider in Provider}


def missing(lacking: dict[str, str], facts: dict[str, Any]) -> list[str]:
    """What of the GPU's half can't run here, a line each.

    Args:
        lacking: of `providers`.
        facts: of `machine`.
    """
    lines = [f"{name}: {reason}" for name, reason in lacking.items() if reason and not on_processor(name)]
    torch = facts["torch"]
    if not torch["sees_gpu"]:
        built = f"built for CUDA {torch['cuda']}" if torch["cuda"] else "built without CUDA"
        lines.append(f"training and PyTorch's times: PyTorch {torch['version']} sees no GPU ({built})")
    return lines


def has_gpu(lacking: dict[str, str]) -> bool:
    """Whether a provider of a GPU can be used here.

    Args:
        lacking: of `providers`.
    """
    return any(not reason and not on_processor(name) for name, reason in lacking.items())


def _packages() -> dict[str, str]:
    wanted = ("onnxruntime", "tensorrt", "nvidia-ml", "openvino")
    found = {
        (distribution.metadata["Name"] or "").lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {name: version for name, version in sorted(found.items()) if name.startswith(wanted)}
