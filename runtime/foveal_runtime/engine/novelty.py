"""How far a photograph lies from those that a model was trained on, by what its image encoder makes of it. Decides nothing.

The mean of a photograph's image tokens is compared with those of the training photographs: their mean, their `AXES` directions
of largest spread, and one spread for all others (probabilistic principal components, Tipping and Bishop 1999). The distance is
Mahalanobis's under that Gaussian (Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples").

Shapes: N photographs, T tokens with CLS first, D their width, K axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.bundle.tensors import write_tensors
from foveal_runtime.errors import BundleError

FILE = "novelty.safetensors"
AXES = 64
"""At most; 65 kB in a bundle. Of 8, 16, 32 and 64 the best (docs/results.md, "Unlike the training photographs")."""
LEAST_TRAINING, LEAST_HELD_OUT = 40, 20
"""Photographs below which nothing is fitted."""
BEYOND = 0.01
"""Share of held-out photographs that may lie beyond the limit."""
_FLOOR = 1e-12

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPhotographs:
    """Where the training photographs lie."""

    mean_D: npt.NDArray[np.float32]
    axes_KD: npt.NDArray[np.float32]
    """Orthonormal."""
    variances_K: npt.NDArray[np.float32]
    rest: npt.NDArray[np.float32]
    """Variance of every other direction, `[1]`."""

    def distances(self, features_ND: npt.NDArray[Any]) -> Float64:
        """Mahalanobis distance of each photograph's `feature`."""
        away_ND = np.asarray(features_ND, np.float64) - self.mean_D
        along_NK = away_ND @ self.axes_KD.T.astype(np.float64)
        beside_N = np.maximum(np.square(away_ND).sum(-1) - np.square(along_NK).sum(-1), 0)
        return np.asarray(np.sqrt((np.square(along_NK) / self.variances_K).sum(-1) + beside_N / self.rest[0]))

    @classmethod
    def read(cls, data: bytes) -> TrainingPhotographs:
        """From the bytes of a file that `write` wrote.

        Raises:
            ValueError, KeyError, SafetensorError: they are none.
        """
        from safetensors.numpy import load

        arrays = load(data)
        return cls(mean_D=arrays["mean"], axes_KD=arrays["axes"], variances_K=arrays["variances"], rest=arrays["rest"])

    def write(self, folder: Path) -> None:
        """Write `FILE`."""
        arrays = {"mean": self.mean_D, "axes": self.axes_KD, "variances": self.variances_K, "rest": self.rest}
        write_tensors(folder / FILE, arrays)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoveltyScale:
    """A bundle's measure of unlikeness."""

    training: TrainingPhotographs
    limit: float

    def __call__(self, tokens_TD: npt.NDArray[Any]) -> float:
        """Distance of a photograph in units of the limit: above 1 it is unlike the training photographs."""
        return float(self.training.distances(feature(tokens_TD)[None])[0] / self.limit)


def feature(tokens_TD: npt.NDArray[Any]) -> Float64:
    """What is compared of a photograph's image tokens, `[D]`."""
    return np.asarray(tokens_TD[1:].mean(axis=0, dtype=np.float64))


def fit_training(features_ND: npt.NDArray[Any]) -> TrainingPhotographs:
    """Describe the training photographs by their features."""
    features = np.asarray(features_ND, np.float64)
    count, width = features.shape
    kept = min(AXES, count // 4, width - 1)
    mean = features.mean(0)
    _, singular, axes = np.linalg.svd(features - mean, full_matrices=False)
    variances = np.square(singular) / (count - 1)
    return TrainingPhotographs(
        mean_D=mean.astype(np.float32),
        axes_KD=axes[:kept].astype(np.float32),
        variances_K=np.maximum(variances[:kept], _FLOOR).astype(np.float32),
        rest=np.asarray([max(variances[kept:].sum() / (width - kept), _FLOOR)], np.float32),
    )


def fit_limit(distances_N: Sequence[float] | Float64) -> float:
    """The distance that a held-out photograph exceeds with probability `BEYOND`, distances being log-normal.

    Args:
        distances_N: of photographs that nobody trained on; a prediction bound, so that few of them give a wide one.
    """
    from scipy.stats import t

    logs = np.log(np.maximum(np.asarray(distances_N, np.float64), _FLOOR))
    spread = logs.std(ddof=1) * np.sqrt(1 + 1 / len(logs))
    return float(np.exp(logs.mean() + spread * t.ppf(1 - BEYOND, len(logs) - 1)))


def read_novelty(bundle: Bundle) -> NoveltyScale | None:
    """The bundle's measure; None when it has none.

    Raises:
        BundleError: its file can't be read or does not fit the bundle.
    """
    from safetensors import SafetensorError

    found = bundle.manifest.novelty
    if found is None:
        return None
    try:
        training = TrainingPhotographs.read(bundle.read(found.file))
        every = (training.mean_D, training.axes_KD, training.variances_K, training.rest)
        width, axes = bundle.manifest.embedding_dim, len(training.axes_KD)
        if [each.shape for each in every] != [(width,), (axes, width), (axes,), (1,)]:
            raise ValueError("shapes do not fit")
        if not all(each.dtype == np.float32 and np.isfinite(each).all() for each in every):
            raise ValueError("not finite float32")
        if min(training.variances_K.min(initial=1), training.rest[0]) <= 0:
            raise ValueError("a variance is not positive")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BundleError(
            f"{found.file} of {bundle.path} can't be read ({type(error).__name__}); copy or export the bundle again"
        ) from error
    return NoveltyScale(training=training, limit=found.limit)
