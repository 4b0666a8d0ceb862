"""What an export leaves, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foveal_export.parity.outcome import Candidate
from foveal_runtime.bundle.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What came out."""

    bundle: Path
    manifest: Manifest
    report: dict[str, Any]
    seconds: float
    bytes: int
    html: Path
    frontier: tuple[Candidate, ...] = field(default=())
