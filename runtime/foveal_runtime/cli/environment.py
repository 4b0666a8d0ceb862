"""Every environment variable that foveal reads, or whose setting matters to it. Reads none; docs/reference is made from this."""

from __future__ import annotations

from types import MappingProxyType

VARIABLES = MappingProxyType(
    {
        "FOVEAL_CACHE": "Folder for plans and compiled graphs of `foveal compile`; `XDG_CACHE_HOME`/foveal or ~/.cache/foveal without it.",
        "FOVEAL_KEY_PASSPHRASE": "Passphrase of the private key that `foveal export --sign` reads.",
        "HF_HUB_OFFLINE": "`1` keeps transformers and timm from asking a hub; weights then come from its cache or a local folder.",
        "OMP_NUM_THREADS": "Threads of PyTorch in training, evaluation and export. The server has `--threads` of its own.",
        "OMP_WAIT_POLICY": "`PASSIVE` lets PyTorch's threads sleep between two operations: on a busy machine spinning ones cost more.",
        "RANK": "Set by `torchrun`: the number of this process.",
        "WORLD_SIZE": "Set by `torchrun`: how many processes train together.",
        "XDG_CACHE_HOME": "Where caches lie, see `FOVEAL_CACHE`.",
    }
)
