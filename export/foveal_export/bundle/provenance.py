"""What a bundle was made with: libraries, commit of foveal, class of the processor it was judged on. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import platform

from foveal_runtime.engine.processor import this_processor
from foveal_train.runs.origin import commit

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxscript", "timm", "transformers", "numpy", "pillow", "tokenizers")


def made_with() -> dict[str, str]:
    """Versions by name, and `commit`: `unknown` where foveal was installed from a wheel that does not say."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "processor": str(this_processor())}
    return {**versions, **machine, "commit": commit()}
