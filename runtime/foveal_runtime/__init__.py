"""foveal's runtime: what a screening box needs to grade, embed and retrieve. Never imports torch, timm or transformers."""

import os

__version__ = "0.1.0"

# Nothing leaves the machine unasked. ONNX Runtime's wheels (from 1.29 on, Linux too) keep a device id and report models,
# sessions and errors to Microsoft unless this is set before they are loaded; Hugging Face's libraries have the like.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")
