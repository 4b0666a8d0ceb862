"""The GPU architectures that engines are built for, by CUDA compute capability. Builds nothing."""

from __future__ import annotations

from enum import StrEnum

from foveal_runtime.errors import ConfigError


class Architecture(StrEnum):
    """A compute capability that TensorRT for RTX builds for."""

    SM75 = "sm75"
    """Turing."""
    SM80 = "sm80"
    """Ampere, data centre."""
    SM86 = "sm86"
    """Ampere."""
    SM89 = "sm89"
    """Ada Lovelace."""
    SM120 = "sm120"
    """Blackwell."""
    SM121 = "sm121"
    """Blackwell, GB10."""


DEFAULT = "sm86,sm89,sm120"
NONE = "none"


def parse_architectures(text: str) -> tuple[Architecture, ...]:
    """The architectures that `--engines` names, each once, in the given order; none for `none`.

    Raises:
        ConfigError: one that TensorRT for RTX does not build for, or an empty name.
    """
    if text.strip().lower() == NONE:
        return ()
    found: dict[Architecture, None] = {}
    for name in text.split(","):
        try:
            found[Architecture(name.strip().lower())] = None
        except ValueError:
            known = ", ".join(architecture.value for architecture in Architecture)
            raise ConfigError(
                f"--engines names {name.strip()!r}; choose from {known}, separated by commas, or {NONE}"
            ) from None
    return tuple(found)
