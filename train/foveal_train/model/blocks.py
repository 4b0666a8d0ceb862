"""The blocks of a model by the paths of its modules: units of about a layer, of which export and training speak alike."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"^(?P<path>(?:.*?\.)?(?:blocks\.\d+(?:\.\d+)?|layers\.\d+))(?=[./])")

FLOAT_BLOCKS = 2
"""Leading blocks of a CNN that INT8 leaves in floating point: 5 % of EfficientNet-Lite0's multiply-adds, which read pixels and
a depthwise filter of nine weights, and three quarters of its INT8 error (0.120 against 0.073, docs/decisions.md)."""


def block_of(path: str) -> str:
    """Path of the block that a module, or a node named after one (`path/Operator`), belongs to; outside of repeated blocks it
    is the module itself."""
    match = _BLOCK.match(path)
    if match:
        return match["path"]
    return path.split("/")[0] or path
