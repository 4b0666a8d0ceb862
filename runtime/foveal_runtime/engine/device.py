"""What a machine is, as far as a measurement or a compiled graph depends on it. Reads /proc and package metadata."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from foveal_runtime.engine.ort import ort_version, usable_cores
from foveal_runtime.engine.processor import this_processor

_PROC = Path("/proc")
_LIBRARIES = ("tensorrt", "nvidia-", "onnxruntime-ep-")
"""Prefixes of the packages that other providers than the CPU's compile with, besides ONNX Runtime."""


def device_facts(provider: str, *, proc: Path = _PROC) -> dict[str, str]:
    """What a compiled graph depends on besides the bundle: processor, and for a GPU its model, driver and libraries.

    Args:
        provider: the name of one, or `auto` of what depends on all that are there.
        proc: where the kernel tells about itself; another folder in tests.

    Raises:
        ConfigError: no ONNX Runtime is installed.
    """
    cpu = _first_cpu(proc / "cpuinfo")
    facts = {
        "machine": platform.machine(),
        "processor": cpu.get("model name", platform.processor()),
        # ONNX Runtime packs weights for the instructions that the processor has, which a virtual machine may hide, and an
        # emulator hides from programs alone.
        "class": str(this_processor()),
        "instructions": hashlib.sha256(cpu.get("flags", cpu.get("Features", "")).encode()).hexdigest()[:16],
        "cores": str(usable_cores()),
        "provider": provider,
        "onnxruntime": ort_version(),
    }
    if provider != "cpu":
        facts["driver"] = _first_line(proc / "driver" / "nvidia" / "version")
        facts["gpus"] = "; ".join(_gpus(proc / "driver" / "nvidia" / "gpus"))
        facts["libraries"] = "; ".join(_versions(_LIBRARIES))
    return facts


def device_key(facts: Mapping[str, str]) -> str:
    """The facts as a short hash, fit for a folder's name."""
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]


def _first_cpu(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    fields: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip() if path.is_file() else ""


def _gpus(folder: Path) -> Iterable[str]:
    for information in sorted(folder.glob("*/information")):
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                yield value.strip()


def _versions(prefixes: tuple[str, ...]) -> list[str]:
    found = {
        f"{name} {distribution.version}"
        for distribution in importlib.metadata.distributions()
        if (name := (distribution.metadata["Name"] or "").lower()).startswith(prefixes)
    }
    return sorted(found)
