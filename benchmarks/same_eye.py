"""Photographs that are likely of the same eye, by their vessels: another exposure, another field, another visit.

    python benchmarks/same_eye.py --data idrid:PATH --out groups.json

A map of vessels (ridges of the green channel at one scale, evened out) is made of every photograph and compared with every
other at rotations of up to 16 degrees, either way, and shifts of up to a quarter of the field: the highest normalised
correlation is the pair's likeness. All pairs are looked at on small maps, the likest of them again. Pairs at `--threshold` or
above are joined to groups. What it can't do: both eyes of a person have different vessels, so that two photographs of one
person are found only where they show one eye.

`--synthetic N` first measures what it finds: N photographs against themselves turned, shifted, cut, darkened, blurred.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter
from scipy import fft, ndimage

from foveal_runtime.photo.imaging import Crop, ImageSpec, load_square
from foveal_train.data import Sample
from foveal_train.runs.samples import load_samples

app = cyclopts.App(help=__doc__)
SIDE = 128
"""Of a map; photographs are read at twice that."""
ANGLES = tuple(range(-16, 17, 4))
SECOND_LOOK = 1000
"""Pairs that are compared at the whole side."""
FIELD = 0.44
"""Radius, in sides, of what counts: the rim is alike in all photographs."""
THRESHOLD = 0.45
"""docs/results.md, "One eye on both sides", has the figures behind it."""
SPEC = ImageSpec(side_px=2 * SIDE, crop=Crop.FIELD)

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two photographs and how alike their vessels are."""

    one: int
    other: int
    likeness: float


def vessels(square_SSC: npt.NDArray[np.uint8]) -> Map:
    """Ridges that are darker than their sides, `[SIDE, SIDE]`, of mean 0 and norm 1 within the field."""
    green = ndimage.gaussian_filter(square_SSC[..., 1].astype(np.float32), 1.0)
    yy, xy, xx = (ndimage.gaussian_filter(green, 2.0, order=order) for order in ((2, 0), (1, 1), (0, 2)))
    ridge = (xx + yy) / 2 + np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    ridge = np.maximum(ridge, 0)
    even = ridge / (ndimage.gaussian_filter(ridge, 16.0) + 1e-3)
    small = np.minimum(even, 4.0).reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    inside = np.hypot(y, x) < FIELD * SIDE
    centred = np.where(inside, small - small[inside].mean(), 0)
    return np.asarray(centred / (np.linalg.norm(centred) + 1e-6), np.float32)


def halved(vessels_SS: Map) -> Map:
    """A map at half the side, of norm 1: for the first look at all pairs."""
    side = len(vessels_SS) // 2
    small = vessels_SS.reshape(side, 2, side, 2).mean(axis=(1, 3))
    return np.asarray(small / (np.linalg.norm(small) + 1e-6), np.float32)


def _padded(side: int) -> int:
    return side * 5 // 4


def _near(correlation: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """The part of `[..., P, P]`, P being `_padded`, whose shifts are within a quarter of the side."""
    rows = np.r_[0 : side // 4 + 1, _padded(side) - side // 4 : _padded(side)]
    return correlation[..., rows[:, None], rows]


@cache
def _overlap(side: int) -> npt.NDArray[np.float32]:
    """Share of the field that two photographs have in common at each near shift, at least 0.3; 1 at none."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc = (np.hypot(y, x) < FIELD * side).astype(np.float32)
    padded = (_padded(side),) * 2
    spectrum = fft.rfft2(disc, padded)
    shared = fft.irfft2(spectrum * spectrum.conj(), padded)
    return np.asarray(np.maximum(_near(shared / shared[0, 0], side), 0.3), np.float32)


def likeness(maps: Sequence[Map], others: Sequence[Map], angles: Sequence[int] = ANGLES) -> npt.NDArray[np.float32]:
    """The highest correlation of each pair over rotations and shifts, `[len(maps), len(others)]`.

    Args:
        maps: of some photographs, all of one side.
        others: of those they are compared with.
        angles: rotations, in degrees.
    """
    side = len(maps[0])
    padded = (_padded(side),) * 2
    first = [fft.rfft2(each, padded).astype(np.complex64) for each in maps]
    found = np.full((len(maps), len(others)), -1, np.float32)
    for angle in angles:
        turned = (ndimage.rotate(each, angle, reshape=False, order=1) for each in others)
        stack = np.stack([fft.rfft2(each, padded).astype(np.complex64).conj() for each in turned])
        for row, spectrum in enumerate(first):
            correlation = _near(fft.irfft2(spectrum * stack, padded), side)
            found[row] = np.maximum(found[row], (correlation / _overlap(side)).max(axis=(1, 2)))
    return found


def all_pairs(maps: Sequence[Map]) -> npt.NDArray[np.float32]:
    """Likeness of every pair, the upper triangle: a first look at half the side, the likest `SECOND_LOOK` at the whole."""
    small = [halved(each) for each in maps]
    found = np.triu(likeness(small, small, ANGLES[::2]), 1)
    for pair in pairs_of(found, float(np.sort(found, axis=None)[-min(SECOND_LOOK, found.size)]))[:SECOND_LOOK]:
        found[pair.one, pair.other] = likeness([maps[pair.one]], [maps[pair.other]])[0, 0]
    return found


def pairs_of(found: npt.NDArray[np.float32], least: float) -> list[Pair]:
    """Pairs of a triangle at `least` or above, the likest first."""
    pairs = [Pair(one=int(i), other=int(j), likeness=float(found[i, j])) for i, j in np.argwhere(found >= least)]
    return sorted(pairs, key=lambda pair: -pair.likeness)


def groups_of(count: int, pairs: Sequence[Pair]) -> list[int]:
    """A group for each of `count` photographs, named by its first member: pairs are joined, and what they are joined to."""
    group = list(range(count))
    for pair in sorted(pairs, key=lambda pair: (pair.one, pair.other)):
        low, high = sorted((group[pair.one], group[pair.other]))
        group = [low if each == high else each for each in group]
    return group


def maps_of(samples: Sequence[Sample]) -> list[Map]:
    """Vessels of every sample's photograph.

    Raises:
        ImageError: a photograph can't be decoded.
    """
    maps = []
    for sample in samples:
        data = sample.image_bytes()
        assert data is not None
        maps.append(vessels(load_square(data, SPEC)))
    return maps


def changed(square_SSC: npt.NDArray[np.uint8], draw: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photograph of the same eye as another visit may have taken it: turned, shifted, darker, softer."""
    turned = ndimage.rotate(square_SSC, draw.uniform(-10, 10), reshape=False, order=1)
    shifted = ndimage.shift(turned, (*draw.uniform(-0.12, 0.12, 2) * len(square_SSC), 0), order=1)
    soft = ndimage.gaussian_filter(shifted.astype(np.float32), (1.0, 1.0, 0))
    exposed = 255 * (soft / 255) ** draw.uniform(0.7, 1.5)
    return np.asarray(np.clip(exposed + draw.normal(0, 4, exposed.shape), 0, 255), np.uint8)


def found_again(samples: Sequence[Sample], count: int, seed: int) -> npt.NDArray[np.float32]:
    """Likeness of `count` photographs with themselves as another visit may have taken them."""
    draw = np.random.default_rng(seed)
    scores = []
    for sample in (samples[int(row)] for row in draw.permutation(len(samples))[:count]):
        data = sample.image_bytes()
        assert data is not None
        square = load_square(data, SPEC)
        scores.append(float(likeness([vessels(square)], [vessels(changed(square, draw))])[0, 0]))
    return np.asarray(scores, np.float32)


def document(samples: Sequence[Sample], found: npt.NDArray[np.float32], threshold: float) -> dict[str, Any]:
    """What is written: `groups` {id: group's first id}, and the likest pairs, below the threshold too."""
    ids = [sample.id for sample in samples]
    groups = groups_of(len(ids), pairs_of(found, threshold))
    likest = pairs_of(found, float(np.sort(found[np.triu_indices(len(ids), 1)])[-min(200, len(ids) * (len(ids) - 1) // 2)]))
    return {
        "threshold": threshold,
        "groups": {name: ids[group] for name, group in zip(ids, groups, strict=True)},
        "pairs": [[ids[pair.one], ids[pair.other], round(pair.likeness, 4)] for pair in likest],
        "quantiles": {
            str(q): float(np.quantile(found[np.triu_indices(len(ids), 1)], q)) for q in (0.5, 0.99, 0.999, 0.9999, 1.0)
        },
    }


def likely_groups(samples: Sequence[Sample], threshold: float = THRESHOLD) -> dict[str, Any]:
    """See `document`; computes everything."""
    return document(samples, all_pairs(maps_of(samples)), threshold)


@app.default
def main(
    *,
    data: str,
    out: Path,
    threshold: float = THRESHOLD,
    synthetic: Annotated[int, Parameter(negative=())] = 0,
    seed: int = 0,
) -> None:
    """Find likely pairs and write the group of every photograph.

    Args:
        data: data set as kind:path.
        out: file for the groups, JSON.
        threshold: likeness of a pair.
        synthetic: photographs that are compared with changed copies of themselves first.
        seed: of these changes.
    """
    samples = [sample for sample in load_samples([data]) if sample.image_path is not None]
    if synthetic:
        scores = found_again(samples, synthetic, seed)
        share, low = float((scores >= threshold).mean()), np.quantile(scores, (0.05, 0.5))
        sys.stderr.write(f"of {len(scores)} changed copies {share:.2f} at {threshold}; 5 % {low[0]:.3f}, median {low[1]:.3f}\n")
    found = likely_groups(samples, threshold)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    joined = len(samples) - len(set(found["groups"].values()))
    sys.stderr.write(f"{len(samples)} photographs, {joined} joined to another's group; likest pairs:\n")
    for one, other, alike in found["pairs"][:10]:
        sys.stderr.write(f"  {one} {other} {alike:.3f}\n")


if __name__ == "__main__":
    app()
