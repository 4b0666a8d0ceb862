"""The pictures that the gradability check is fitted and judged on, as JPEG files in memory. Fits nothing, judges nothing.

Photographs: a folder's own, and drawn fundi of two cameras, so that no single camera is learnt. Each is given as it is, recast
as other cameras and eyes would give it (every fourth in two ways at once), and spoilt (half of them recast before). Beside them
pictures that are no fundus, drawn. Everything follows from the seed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.study import Eye
from foveal_train.data.notes import Finding
from foveal_train.data.synthetic.patients import Camera
from foveal_train.data.synthetic.render import render_fundus
from outer_eyes import NOT_FUNDUS
from recast import RECAST, Picture, Rng
from spoilt import SPOILT


class Family(Enum):
    """What a picture is, for the report."""

    PHOTOGRAPH = "photographs as they are"
    RECAST = "recast as other cameras and eyes would give them"
    SPOILT = "spoilt"
    NOT_FUNDUS = "no fundus"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture, and what the check ought to say of it."""

    family: Family
    kinds: tuple[str, ...]
    """What was done to it; none for a photograph as it is."""
    quality: Quality
    base: int
    """Which photograph it was made of; pictures of one stay in one fold. Negative: drawn without one."""
    real: bool
    """Of a real photograph, not of a drawn fundus."""
    jpeg: bytes


def photographs(folder: Path) -> list[Path]:
    """A folder's photographs, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".tif", ".tiff"))


def samples(files: list[Path], *, drawn: int, recast: int, spoilt: int, others: int, seed: int) -> Iterator[Sample]:
    """Everything, photograph by photograph.

    Args:
        files: real photographs.
        drawn: fundi to draw.
        recast: pictures of each photograph that were recast.
        spoilt: pictures of each photograph that were spoilt.
        others: pictures of each kind that is no fundus.
        seed: of all that is random.
    """
    for base in range(len(files) + drawn):
        rng = np.random.default_rng([seed, base])
        real = base < len(files)
        photo = _reduced(Image.open(files[base]).convert("RGB")) if real else drawn_fundus(base, rng)
        made = partial(Sample, base=base, real=real)
        small = photo.resize((700, photo.height * 700 // photo.width), Image.Resampling.BOX) if photo.width > 700 else photo
        yield made(family=Family.PHOTOGRAPH, kinds=(), quality=Quality.GRADABLE, jpeg=jpeg_of(photo, rng))
        names = list(RECAST)
        for i in range(recast):
            rng = np.random.default_rng([seed, base, 1, i])
            # Each kind in its turn: random choice would leave some of them rare.
            kinds: tuple[str, ...] = (names[(base * recast + i) % len(names)],)
            if i % 4 == 3:
                kinds = (*kinds, str(rng.choice([n for n in names if RECAST[n][0] not in (RECAST[kinds[0]][0], "camera")])))
            picture = photo if i % 3 == 0 else small
            for kind in kinds:
                picture = RECAST[kind][1](picture, rng)
            yield made(family=Family.RECAST, kinds=kinds, quality=Quality.GRADABLE, jpeg=jpeg_of(picture, rng))
        for i in range(spoilt):
            rng = np.random.default_rng([seed, base, 2, i])
            kind = list(SPOILT)[(base * spoilt + i) % len(SPOILT)]
            before = str(rng.choice(names)) if i % 2 else ""
            quality, spoil = SPOILT[kind]
            before_it = photo if i % 3 == 0 else small
            picture = spoil(RECAST[before][1](before_it, rng) if before else before_it, rng)
            yield made(family=Family.SPOILT, kinds=(kind,), quality=quality, jpeg=jpeg_of(picture, rng))
    for number, (kind, draw) in enumerate(NOT_FUNDUS.items()):
        for i in range(others):
            rng = np.random.default_rng([seed, 1 << 20, number, i])
            quality = Quality.TOO_DARK if kind == "black" else Quality.NOT_FUNDUS
            jpeg = jpeg_of(draw(rng), rng)
            yield Sample(family=Family.NOT_FUNDUS, kinds=(kind,), quality=quality, base=-1 - i, real=False, jpeg=jpeg)


def drawn_fundus(base: int, rng: Rng) -> Picture:
    """A fundus as `foveal data synth` draws it, of a random eye, grade and camera."""
    findings = [f for f in (Finding.DRUSEN, Finding.MYOPIC_FUNDUS, Finding.INCREASED_CUP_DISC) if rng.random() < 0.2]
    drawn = render_fundus(
        seed=base, eye=list(Eye)[base % 2], icdr=int(rng.integers(5)), findings=findings,
        camera=list(Camera)[int(rng.integers(2))], side_px=int(rng.choice([400, 512, 768])),
    )  # fmt: skip
    return Image.fromarray(drawn)


def jpeg_of(picture: Picture, rng: Rng) -> bytes:
    """A JPEG file, of a quality from 70 to 95."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.integers(70, 96)))
    return buffer.getvalue()


def _reduced(photo: Picture) -> Picture:
    """At most about 1,024 px: larger ones add nothing that the runtime would look at, and take twenty times as long."""
    factor = max(1, max(photo.size) // 1000)
    return photo.reduce(factor) if factor > 1 else photo
