"""Golden studies: generated ones over every trained modality subset, small enough to ship in a bundle. Runs no model.

Format and reader are `foveal_runtime.bundle.golden`'s. No patient's photograph is among them; an owner who may share images
names a folder of them instead.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.imaging import open_header
from foveal_runtime.study.study import Eye, Modality, Record, Sex, Study, Subset, subset_name
from foveal_train.data.notes import Finding, note_of
from foveal_train.data.synthetic.camera import jpeg_bytes
from foveal_train.data.synthetic.patients import Camera
from foveal_train.data.synthetic.render import render_fundus

MIN_STUDIES = 32
MAX_BYTES = 2_000_000
"""Of the whole folder."""
_IMAGES = 16
"""Distinct photographs; subsets share them, so that a joint vector can be compared with its image's own."""
_SIDE_PX = 320
_LONG = "Optic disc with sharp margins, vessels of normal calibre, foveal reflex present. "
_PLAIN = ("Fundo de olho sem alterações à direita.", "OD: soft drusen temporal of the fovea, follow up in 12 months.")


def golden_studies(subsets: Sequence[Subset], *, seed: int = 20, images: Path | None = None) -> tuple[Study, ...]:
    """At least `MIN_STUDIES` studies, as many of each subset.

    Args:
        subsets: trained modality subsets.
        seed: the same seed gives the same bytes.
        images: folder of photographs to use in place of generated ones.

    Raises:
        ConfigError: the folder holds no photograph.
    """
    rng = np.random.default_rng(seed)
    each = -(-MIN_STUDIES // len(subsets))
    needs_images = any(Modality.IMAGE in subset for subset in subsets)
    pool = ([] if not needs_images else _generated(rng) if images is None else _given(images)) or [b""]
    studies: list[Study] = []
    for subset in subsets:
        for i in range(each):
            whole = Study(
                id=f"golden-{len(studies):03d}-{subset_name(subset).replace('+', '-')}",
                image=pool[i % len(pool)] or None,
                note=_note(rng, i),
                record=_record(rng),
            )
            studies.append(whole.only(subset))
    return tuple(studies)


def _generated(rng: np.random.Generator) -> list[bytes]:
    pool = []
    for i in range(_IMAGES):
        fundus = render_fundus(
            seed=int(rng.integers(2**31)),
            eye=(Eye.RIGHT, Eye.LEFT)[i % 2],
            icdr=i % 5,
            findings=[f for f in Finding if rng.random() < 0.15],
            camera=list(Camera)[i % len(Camera)],
            side_px=_SIDE_PX,
        )
        pool.append(jpeg_bytes(fundus, quality=85))
    # Twice the photographs, half of them mirrored: another eye to the model, no further rendering.
    mirrored = []
    for data in pool:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(data)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(buffer, "JPEG", quality=85)
        mirrored.append(buffer.getvalue())
    return pool + mirrored


def _given(folder: Path) -> list[bytes]:
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg")) if folder.is_dir() else []
    if not files:
        raise ConfigError(f"golden folder {folder} holds no .jpg photograph; name a folder of JPEGs that may be shared")
    pool = [path.read_bytes() for path in files[:MIN_STUDIES]]
    for data in pool:
        open_header(data)
    size = sum(map(len, pool))
    if size > MAX_BYTES - 200_000:
        raise ConfigError(f"golden photographs take {size} bytes, a bundle carries at most {MAX_BYTES}; scale them down")
    return pool


def _note(rng: np.random.Generator, i: int) -> str:
    """Short and long ones, past the tokens that fusion keeps and past those that the encoder reads."""
    if i % 8 == 5:
        return _PLAIN[(i // 8) % len(_PLAIN)]
    if i % 8 in (3, 7):
        return _LONG * (4 if i % 8 == 3 else 12)
    return note_of([f for f in Finding if rng.random() < 0.25] or [Finding.DRUSEN])


def _record(rng: np.random.Generator) -> Record:
    """Often with a feature missing; never with all."""
    return Record(
        age_years=float(rng.integers(25, 90)),
        sex=(Sex.FEMALE, Sex.MALE, None)[int(rng.integers(3))],
        eye=(Eye.RIGHT, Eye.LEFT)[int(rng.integers(2))],
        diabetes_years=float(rng.integers(0, 35)) if rng.random() < 0.7 else None,
        insulin=bool(rng.random() < 0.3) if rng.random() < 0.7 else None,
        diabetes=True if rng.random() < 0.8 else None,
    )
