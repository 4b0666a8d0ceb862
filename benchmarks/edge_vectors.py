"""Vectors that lie as those of a trained `edge` model do, a million of them if need be; and how well they match a run's.

    python benchmarks/edge_vectors.py RUN --data brset:PATH --json benchmarks/results/edge_vectors.json

The generator is a mixture in the model's own principal axes: a common direction, cluster centres and spread within clusters,
each normal with the variances of a `Shape`. Those are statistics of the embeddings of a run's photographs (`fit`); nothing of a
single photograph is in them. The match is judged by what makes a graph index easy or hard: intrinsic dimension (two nearest
neighbours, Facco et al. 2017), the cosine to the nearest neighbour, and that between any two, at the same number of vectors.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DIM = 256
Array = npt.NDArray[np.float32]
_BENDS = 64
_TANH_VARIANCE = 0.394
"""Of tanh of a standard normal number."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a cloud of unit vectors lies; variances of components before normalisation, along principal axes."""

    common: float
    """Length of the mean vector."""
    between: tuple[float, ...]
    """Variance of the cluster centres along each axis."""
    within: tuple[float, ...]
    """Mean variance inside a cluster along each axis."""
    rest: float
    """Variance of each axis that is not listed. A smooth function of the listed ones makes it, as a network would: independent
    noise, however faint, would decide between a million neighbours, and no photograph has 256 degrees of freedom."""
    clusters: int


class ClusteredVectors:
    """Draws unit vectors of a shape. Axes and centres follow from the seed; cluster sizes are drawn from a Dirichlet(1)."""

    def __init__(self, shape: Shape, *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._shape = shape
        axes = np.linalg.qr(self._rng.normal(size=(DIM, DIM)))[0].T
        self._mean = shape.common * axes[0]
        self._axes = axes[1 : 1 + len(shape.between)]
        self._centres = self._rng.normal(size=(shape.clusters, len(shape.between))) * np.sqrt(shape.between)
        self._within = np.sqrt(shape.within)
        self._bend = self._rng.normal(size=(len(shape.within), _BENDS)) / np.sqrt(sum(shape.within))
        self._bent = self._rng.normal(size=(_BENDS, DIM)) * np.sqrt(shape.rest / _BENDS / _TANH_VARIANCE)
        self._sizes = self._rng.dirichlet(np.ones(shape.clusters))

    def reseed(self, seed: int) -> None:
        """Draw on from another seed, with the same axes and centres: queries that nobody stored."""
        self._rng = np.random.default_rng(seed)

    def draw(self, n: int) -> Array:
        """`n` unit vectors, float32 [n, DIM]."""
        which = self._rng.choice(len(self._sizes), size=n, p=self._sizes)
        spread = self._within * self._rng.normal(size=(n, len(self._within)))
        x = self._mean + (self._centres[which] + spread) @ self._axes + np.tanh(spread @ self._bend) @ self._bent
        return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


def fit(vectors: Array, *, clusters: int, axes: int, seed: int = 0) -> Shape:
    """Statistics of a cloud: mean, principal axes, k-means clusters, variances between and within them."""
    from sklearn.cluster import KMeans

    mean = vectors.mean(0, dtype=np.float64)
    centred = vectors - mean
    basis = np.linalg.svd(centred, full_matrices=False)[2]
    inner = centred @ basis[:axes].T
    rest = max(0.0, float((centred**2).sum() - (inner**2).sum()) / len(vectors) / (DIM - axes))
    labels = KMeans(clusters, n_init=3, random_state=seed).fit_predict(inner)
    centres = np.stack([inner[labels == c].mean(0) for c in range(clusters)])
    between = (centres[labels] ** 2).mean(0)
    within = ((inner - centres[labels]) ** 2).mean(0)
    rounded = [tuple(float(f"{v:.3g}") for v in values) for values in (between, within)]
    return Shape(
        common=float(f"{np.linalg.norm(mean):.4g}"),
        between=rounded[0],
        within=rounded[1],
        rest=float(f"{rest:.3g}"),
        clusters=clusters,
    )


def portrait(vectors: Array) -> dict[str, Any]:
    """What makes neighbours easy or hard to find."""
    cosines = np.clip(vectors.astype(np.float64) @ vectors.T.astype(np.float64), -1, 1)
    any_two = cosines[np.triu_indices(len(vectors), 1)]
    np.fill_diagonal(cosines, -2)
    two = -np.sort(-cosines, axis=1)[:, :2]
    near, next_ = np.sqrt(np.maximum(2 - 2 * two, 1e-12)).T
    ratio = np.sort(next_ / near)[: int(0.9 * len(vectors))]
    # Maximum likelihood of the two-neighbour model, the farthest tenth left out as its authors do.
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "n": len(vectors),
        "intrinsic_dimension": round(float(_two_nn(ratio)), 1),
        "nearest_cosine": [round(float(q), 4) for q in np.quantile(two[:, 0], quantiles)],
        "any_two_cosine": [round(float(q), 3) for q in np.quantile(any_two, quantiles)],
        "quantiles": list(quantiles),
    }


def _two_nn(ratio: npt.NDArray[np.float64]) -> float:
    """Slope through the origin of -log(1 - F) over log(ratio)."""
    x = np.log(np.maximum(ratio, 1 + 1e-12))
    y = -np.log(1 - np.arange(1, len(x) + 1) / (len(x) / 0.9 + 1))
    return float((x * y).sum() / (x * x).sum())


def embeddings(run: Path, specs: list[str]) -> Array:
    """Unit image vectors of a run for every photograph of the data sets."""
    from foveal_runtime.study.notes import NoteTokeniser
    from foveal_runtime.study.study import Modality
    from foveal_train.runs.predict import Showing, predict_each
    from foveal_train.runs.run import Run
    from foveal_train.runs.samples import load_samples
    from foveal_train.training.arrays import load_arrays

    opened = Run.open(run)
    arrays = load_arrays(
        load_samples(specs),
        image_spec=opened.info.model.image_spec,
        tokenise=NoteTokeniser(opened.tokenizer_json, opened.info.model.text_spec),
        features=opened.info.features,
        modalities=(Modality.IMAGE,),
        keep_empty_notes=False,
        progress=None,
    )
    (found,) = predict_each(opened.model, arrays, [Showing(present_NM=arrays.showing(frozenset({Modality.IMAGE})), notes=None)])
    return np.asarray(found.cls_NMD[:, list(Modality).index(Modality.IMAGE)], np.float32)


def main() -> None:
    """Fit and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", action="append", required=True, help="kind:path; may be repeated")
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--axes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    vectors = embeddings(args.run, args.data)
    shape = fit(vectors, clusters=args.clusters, axes=args.axes)
    made = ClusteredVectors(shape, seed=args.seed).draw(len(vectors))
    report = {
        "run": args.run.name,
        "data": args.data,
        "shape": asdict(shape),
        "edge": portrait(vectors),
        "generated": portrait(made),
        "generated_by_default": portrait(ClusteredVectors(EDGE, seed=args.seed).draw(len(vectors))),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


EDGE = Shape(
    common=0.8389,
    between=(
        0.187,
        0.0923,
        0.01,
        0.000907,
        0.000474,
        5.06e-05,
        4.34e-05,
        2.18e-05,
        1.48e-05,
        5.12e-06,
        6.6e-06,
        2.91e-06,
        8.04e-07,
        8.23e-06,
        2.24e-06,
        4.2e-06,
        3.46e-06,
        1.5e-06,
        1.55e-06,
        7.71e-07,
        1.24e-06,
        3.18e-07,
        6.42e-07,
        1.32e-06,
    ),
    within=(
        0.00132,
        0.0016,
        0.000458,
        0.000747,
        0.000142,
        0.000153,
        0.000105,
        0.000102,
        6.75e-05,
        6.75e-05,
        4.67e-05,
        3.27e-05,
        3.05e-05,
        1.87e-05,
        2.13e-05,
        1.91e-05,
        1.52e-05,
        1.5e-05,
        1.35e-05,
        1.38e-05,
        1.26e-05,
        1.2e-05,
        1.13e-05,
        9.91e-06,
    ),
    rest=1.81e-06,
    clusters=16,
)
"""An `edge` run on all three modalities, 5 epochs on 300 generated patients: the 600 photographs' image vectors."""

if __name__ == "__main__":
    main()
