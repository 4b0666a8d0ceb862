"""A clinic's own threshold of the gradability check: fit it on its photographs, write it, read it. Measures no pixels.

Cameras differ from what the check was fitted on. A clinic's graders know which of its photographs can be graded; the threshold
is put where the check refuses no more of those than asked. Usable photographs alone can only bring it down: how far it may go
up, only unusable ones tell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.quality import shipped_check

FORMAT = 1
_LEAST = 0.005
"""Below it nearly everything passes."""
_FEWEST = 20
"""Photographs: fewer say nothing about one in a hundred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteQuality:
    """A threshold and what it was fitted on."""

    min_gradable: float
    """Probability of being gradable from which a photograph passes."""
    check: str
    """The fitted check that gave the probabilities (`Check.identity`)."""
    usable: int
    """Photographs that graders call usable."""
    usable_refused: int
    unusable: int = 0
    """Photographs that graders call unusable."""
    unusable_refused: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.min_gradable, float) and math.isfinite(self.min_gradable) and 0 < self.min_gradable < 1):
            raise ConfigError(f"min_gradable is {self.min_gradable!r}; want a number between 0 and 1")


def fit_site(usable: Sequence[float], unusable: Sequence[float] = (), *, refuse: float = 0.01) -> SiteQuality:
    """The threshold that refuses at most a share of the usable photographs.

    Args:
        usable: probability of being gradable of each photograph that graders call usable.
        unusable: the same of those that they call unusable; without any the threshold does not rise above the check's own.
        refuse: share of the usable ones that may be refused.

    Raises:
        ConfigError: a share out of range, too few photographs, or photographs of which the check makes nothing.
    """
    if not 0 <= refuse <= 0.5:
        raise ConfigError(f"refuse is {refuse}; want a share from 0 to 0.5")
    if len(usable) < _FEWEST:
        raise ConfigError(
            f"{len(usable)} usable photographs were given; at least {_FEWEST} are needed, some hundred are better"
        )
    check = shipped_check()
    lowest = sorted(usable)[math.floor(refuse * len(usable))]
    # Rounded down: the photograph that sets the threshold passes.
    threshold = math.floor(min(lowest, 0.999) * 1e4) / 1e4
    if not unusable:
        threshold = min(threshold, check.min_gradable)
    if threshold < _LEAST:
        raise ConfigError(
            f"a threshold of {threshold:.4f} would be needed, at which nearly anything passes; see with `foveal quality check` "
            f"which photographs are refused, take out those that are not usable, or allow more with --refuse"
        )
    return SiteQuality(
        min_gradable=threshold,
        check=check.identity,
        usable=len(usable),
        usable_refused=sum(p < threshold for p in usable),
        unusable=len(unusable),
        unusable_refused=sum(p < threshold for p in unusable),
    )


def site_document(site: SiteQuality) -> dict[str, object]:
    """What is written to a file, and printed."""
    return {"format_version": FORMAT, **asdict(site)}


def read_site(path: Path) -> SiteQuality:
    """The threshold that `foveal quality fit` wrote.

    Raises:
        ConfigError: unreadable, malformed, or fitted to another version of the check.
    """
    again = f"fit it again with `foveal quality fit DIR --out {path}`"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"quality file {path} can't be read ({type(error).__name__}); {again}") from None
    if not isinstance(document, dict) or document.get("format_version") != FORMAT:
        raise ConfigError(f"quality file {path} is not of format {FORMAT}; {again}")
    values = {name: document.get(name) for name in SiteQuality.__dataclass_fields__}
    if values["check"] != shipped_check().identity:
        raise ConfigError(f"quality file {path} belongs to another version of the gradability check; {again}")
    counts = [values[name] for name in ("usable", "usable_refused", "unusable", "unusable_refused")]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ConfigError(f"quality file {path} has counts that are no whole numbers; {again}")
    try:
        return SiteQuality(**values)  # type: ignore[arg-type]
    except ConfigError as error:
        raise ConfigError(f"quality file {path}: {error}; {again}") from None
