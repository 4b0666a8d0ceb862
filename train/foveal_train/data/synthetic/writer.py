"""Writes a generated data set to disk in the layout of a BRSET release, whole or not at all."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foveal_runtime.errors import DataError
from foveal_runtime.study.study import Eye
from foveal_train.data.brset import IMAGES, RELEASES, Release
from foveal_train.data.synthetic.camera import jpeg_bytes
from foveal_train.data.synthetic.patients import EyeState, Patient, draw_patient
from foveal_train.data.synthetic.render import FundusPlan, render
from foveal_train.data.synthetic.table import Row, add_quirks, image_id, patient_rows

MARKER = "synthetic.json"
"""Says that a folder was generated and how; only a folder that has it may be replaced."""
_MAX_PATIENTS = 49_999
"""Image numbers have five digits."""
_GRADES = 5


def find_release(version: str) -> Release:
    """The BRSET release of this version.

    Raises:
        DataError: there is none.
    """
    for release in RELEASES:
        if release.version == version:
            return release
    known = ", ".join(release.version for release in RELEASES)
    raise DataError(f"there is no BRSET release {version}; choose one of {known}")


def synthesise(
    out: Path,
    *,
    patients: int,
    seed: int,
    release: str = "1.0.1",
    balanced: bool = False,
    side_px: int = 512,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generate a data set of two photographs a patient.

    The same arguments give the same bytes, and a patient does not depend on how many others there are.

    Args:
        out: folder to make; its parents are made too.
        patients: at least 1.
        seed: 0 or more.
        release: BRSET release whose file names, columns and spellings are used.
        balanced: right eyes spread evenly over the ICDR grades, left eyes near them, instead of BRSET's prevalence.
        side_px: height and width of a photograph.
        force: replace a generated data set at `out`; anything else there is never touched.
        progress: called with photographs done and photographs in all.

    Returns:
        `out`.

    Raises:
        DataError: arguments out of range, something already at `out`, or a disk that refuses.
    """
    layout = find_release(release)
    if not 1 <= patients <= _MAX_PATIENTS:
        raise DataError(f"{patients} patients were asked for; 1 to {_MAX_PATIENTS} can be generated")
    if seed < 0:
        raise DataError(f"the seed is {seed}; give 0 or more")
    if not 64 <= side_px <= 2048:
        raise DataError(f"photographs of {side_px} px were asked for; 64 to 2048 can be generated")
    _check_target(out, force=force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target: a rename is atomic within one file system alone.
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as partial:
            folder = Path(partial) / "new"
            _write(folder, patients, seed, layout, balanced=balanced, side_px=side_px, progress=progress)
            if out.exists():
                out.rename(Path(partial) / "old")
            folder.rename(out)
    except OSError as error:
        raise DataError(f"{out} can't be written ({error.strerror}); nothing was left there, choose another place") from None
    return out


def plan_of(patient: Patient, state: EyeState) -> FundusPlan:
    """What the photograph of this eye shows."""
    return FundusPlan(
        eye=state.eye,
        icdr=state.icdr,
        severity=state.severity,
        findings=state.findings,
        camera=patient.camera,
        quality=state.quality,
        laser=state.laser,
        age_years=patient.age_years,
    )


def _check_target(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / MARKER).is_file()):
        raise DataError(f"{out} exists and was not generated; choose another place")
    if any(out.iterdir()) and not force:
        raise DataError(f"{out} exists; choose another place, or replace it (--force)")


def _write(
    folder: Path,
    patients: int,
    seed: int,
    release: Release,
    *,
    balanced: bool,
    side_px: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    images = folder / IMAGES
    images.mkdir(parents=True)
    rows: list[Row] = []
    for number in range(1, patients + 1):
        patient = draw_patient(seed, number, right_icdr=(number + seed) % _GRADES if balanced else None)
        rows += patient_rows(patient, seed, release)
        for state in patient.eyes:
            rng = np.random.default_rng([seed, number, 1 + (state.eye is Eye.LEFT)])
            rgb_HWC = render(rng, plan_of(patient, state), side_px)
            (images / f"{image_id(patient, state.eye)}.jpg").write_bytes(jpeg_bytes(rgb_HWC))
            if progress is not None:
                progress(2 * (number - 1) + 1 + (state.eye is Eye.LEFT), 2 * patients)
    add_quirks(rows, seed, release)
    with (folder / release.table).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, release.columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    made = {
        "generator": "foveal data synth",
        "release": release.version,
        "patients": patients,
        "seed": seed,
        "balanced": balanced,
        "side_px": side_px,
    }
    (folder / MARKER).write_text(json.dumps(made, indent=2) + "\n")
