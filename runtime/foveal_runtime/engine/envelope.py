"""The limits within which a new bundle may replace an old one, as a TOML file declares them. Compares no bundles."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from foveal_runtime.errors import ConfigError

LABELLED = frozenset({"kappa_drop", "sensitivity_drop", "specificity_drop"})
"""Limits that only labelled studies can be held against."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What may change. `inf` switches a largest value off, `-inf` a least one."""

    icdr_flips: float = 0.02
    """Largest share of studies whose ICDR grade changes where OLD was sure; counted as in docs/parity.md."""
    sdrg_flips: float = 0.02
    """Largest share of studies whose SDRG level changes, likewise."""
    referable_flips: float = 0.02
    """Largest share of studies whose referral decision changes, likewise."""
    min_kappa: float = 0.9
    """Least quadratic-weighted kappa between the ICDR grades of OLD and NEW."""
    kappa_drop: float = 0.02
    """Largest loss of quadratic-weighted kappa against the labels of --data."""
    sensitivity_drop: float = 0.02
    """Largest loss of sensitivity for referable retinopathy against the labels of --data."""
    specificity_drop: float = 0.05
    """Largest loss of specificity, likewise."""
    threshold_change: float = 0.05
    """Largest change of an operating point's threshold."""
    min_cosine: float = 0.95
    """Least cosine similarity of any vector, where both bundles are of one embedding space."""
    size_ratio: float = 1.25
    """Largest size of NEW, OLD being 1."""
    time_ratio: float = 1.25
    """Largest time of a study with NEW, OLD being 1."""
    same_space: bool = False
    """NEW's vectors must be comparable with OLD's, so that an archive need not be embedded again."""
    keeps_answers: bool = True
    """NEW must answer every modality subset, head and operating point of OLD, with evidence as good."""


def read_envelope(path: Path) -> tuple[Envelope, frozenset[str]]:
    """The envelope of a file, and the limits that the file itself names; the others keep their defaults.

    Raises:
        ConfigError: unreadable, no TOML, an unknown limit, or a value that is no limit.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"envelope {path} can't be read ({error.strerror}); check its path and permissions") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"envelope {path} is no TOML; write lines like `icdr_flips = 0.02`") from None
    kinds = {field.name: type(field.default) for field in fields(Envelope)}
    unknown = sorted(document.keys() - kinds.keys())
    if unknown:
        raise ConfigError(f"envelope {path} names the limit {unknown[0]!r}; known are {', '.join(kinds)}")
    return Envelope(**{name: _limit(path, name, value, kinds[name]) for name, value in document.items()}), frozenset(document)


def _limit(path: Path, name: str, value: Any, kind: type) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ConfigError(f"envelope {path}: {name} is {value!r}; write true or false")
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError(f"envelope {path}: {name} is {value!r}; write a number, or inf to switch the limit off")
    lowest = -math.inf if name in ("min_kappa", "min_cosine") else 0.0
    if value < lowest:
        raise ConfigError(f"envelope {path}: {name} is {value!r}; a limit of this kind is 0 or more")
    return float(value)
