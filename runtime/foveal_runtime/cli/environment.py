"""The environment variables that foveal reads or heeds. Reads none; docs/reference is made from this."""

from __future__ import annotations

from types import MappingProxyType

VARIABLES = MappingProxyType(
    {
        "FOVEAL_CACHE": "Folder for what `foveal compile` makes, in place of `XDG_CACHE_HOME` or ~/.cache.",
        "FOVEAL_KEY_PASSPHRASE": "Passphrase of the private key that `foveal export --sign` reads.",
        "FOVEAL_SERVE_…": "A setting of `foveal serve`, after its key: [configuration](configuration.md).",
        "HF_HUB_OFFLINE": "`1` keeps transformers and timm from asking a hub; weights come from its cache or a folder.",
        "HF_HUB_DISABLE_TELEMETRY": "`1` unless you set it: Hugging Face's libraries report nothing.",
        "ORT_DISABLE_TELEMETRY": "`1` unless you set it: ONNX Runtime keeps no device id and reports nothing.",
        "MPLCONFIGDIR": "Folder of Matplotlib's list of fonts; unless you set it, `foveal-matplotlib` beside foveal's cache.",
        "OMP_NUM_THREADS": "Threads of PyTorch in training, evaluation and export. The server has `--threads` of its own.",
        "OMP_WAIT_POLICY": "`PASSIVE` unless you set it: PyTorch's threads sleep while they wait instead of spinning.",
        "RANK": "Set by `torchrun`: the number of this process.",
        "WORLD_SIZE": "Set by `torchrun`: how many processes train together.",
        "XDG_CACHE_HOME": "Where caches lie, see `FOVEAL_CACHE`.",
    }
)
