"""Which model a call asks for, in its metadata. The contract's messages name none: most servers have one."""

from __future__ import annotations

from typing import Any

MODEL_KEY, VERSION_KEY = "x-foveal-model", "x-foveal-version"
"""Metadata of a call that asks for one of several models: its name, the beginning of its bundle's SHA-256."""
_LONGEST_NAME = 64


def model_asked(context: Any) -> tuple[str, str]:
    """Name and version of the model that a call asks for in its metadata; empty where it asks for none."""
    found = {key: value for key, value in context.invocation_metadata() or () if key in (MODEL_KEY, VERSION_KEY)}
    return str(found.get(MODEL_KEY, ""))[:_LONGEST_NAME], str(found.get(VERSION_KEY, ""))[:_LONGEST_NAME]
