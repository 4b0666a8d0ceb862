"""The installed ONNX Runtime and the cores that it may use. A leaf: opens nothing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from typing import Any

from foveal_runtime.errors import ConfigError


def usable_cores() -> int:
    """Cores this process may run on (its affinity, not the machine's size)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def ort_version() -> str:
    """Version of the installed ONNX Runtime, without loading it where its package says.

    Raises:
        ConfigError: none is installed.
    """
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{package} {importlib.metadata.version(package)}"
    return str(ort_module().__version__)


def ort_module() -> Any:
    """ONNX Runtime, imported where it is first needed.

    Raises:
        ConfigError: none is installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("no ONNX Runtime is installed; install foveal[cpu], or foveal[gpu] on a machine with CUDA") from None
    return onnxruntime
