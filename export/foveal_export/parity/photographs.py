"""What a manifest says of photographs besides their grades, fitted on the artefact's own graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foveal_export.parity.novelty import fit_novelty
from foveal_export.parity.occlusion import check_occlusion
from foveal_export.studies.cases import Chosen
from foveal_runtime.engine.engine import Engine


def photograph_fits(engine: Engine, chosen: Chosen, folder: Path) -> dict[str, Any]:
    """Fields of the manifest, by name.

    Args:
        engine: the artefact's.
        chosen: the studies by purpose.
        folder: of the bundle in the making; files of the fits go there.
    """
    return {
        "novelty": fit_novelty(engine, chosen, folder),
        "occlusion": check_occlusion(engine, (*chosen.parity, *chosen.validation)),
    }
