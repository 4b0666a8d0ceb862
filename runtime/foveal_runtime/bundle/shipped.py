"""The model and the photographs that lie in foveal's repository: where they are here, and where to get them. Reads neither."""

from __future__ import annotations

from pathlib import Path

MODEL = Path("models") / "edge"
PHOTOGRAPHS = Path("examples") / "photographs"
LABELS = "labels.csv"
"""In `PHOTOGRAPHS`: image, icdr, patient, eye."""
_CHECKOUT = Path(__file__).resolve().parents[3]
"""The repository, where this package is an editable install of one."""


def find_model() -> Path | None:
    """The shipped bundle; None where there is none, as beside an installed wheel."""
    from foveal_runtime.bundle.bundle import MANIFEST

    return _find(MODEL, MANIFEST)


def find_photographs() -> Path | None:
    """The folder of example photographs; None where there is none."""
    return _find(PHOTOGRAPHS, LABELS)


def how_to_serve() -> str:
    """What to do where a bundle is wanted and none was named."""
    model = find_model()
    if model is not None:
        return f"serve the model that comes with foveal, `foveal serve {model}`, or a folder that `foveal export` wrote"
    return (
        f"name a folder that `foveal export` wrote, or take the trained model, the folder {MODEL} of foveal's repository (a "
        f"wheel holds no model), and run `foveal serve {MODEL}` where it lies"
    )


def _find(part: Path, member: str) -> Path | None:
    """`part` below the working directory, else in the checkout; relative where that reads better."""
    if (part / member).is_file():
        return part
    there = _CHECKOUT / part
    return there if (there / member).is_file() else None
