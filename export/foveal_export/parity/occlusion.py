"""Whether a bundle's evidence maps are faithful: what they mark must matter more to its graphs than what they don't.

On held-out photographs that the bundle itself refers, the marked tenth of the field of view is smoothed away, and a random
tenth (deletion, Samek et al. 2017). Whether the marked places are lesions is another question (benchmarks/evidence_maps.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from foveal_export.studies.cases import photographs
from foveal_runtime.bundle.calibration import Occlusion
from foveal_runtime.engine import occlusion
from foveal_runtime.engine.answers import Prepared
from foveal_runtime.engine.engine import Engine
from foveal_runtime.photo.quality import Quality
from foveal_runtime.study.labels import ICDR
from foveal_runtime.study.study import Modality, subset_name
from foveal_train.data import Sample

MOST = 16
"""Photographs that are looked at: some fifty passes of the graphs each."""
SHARE = 0.1
"""Of the field of view, that is smoothed away."""
_RANDOM = 4
"""Random tenths a photograph."""
_REFERRED = 0.0
"""Log odds from which a photograph counts as referred: of a photograph that isn't, little can be lost."""
_BOOTSTRAP = 1000


def check_occlusion(engine: Engine, samples: Sequence[Sample]) -> Occlusion | None:
    """Measure the maps of an artefact.

    Args:
        engine: the artefact's.
        samples: held out; photographs are asked alone.

    Returns:
        None where the bundle does not grade photographs alone.
    """
    alone = frozenset({Modality.IMAGE})
    if ICDR not in engine.manifest.trained_heads or subset_name(alone) not in engine.manifest.trained_subsets:
        return None
    rng = np.random.default_rng(0)
    gained = [deletion(engine, item, rng) for item in _referred(engine, samples)]
    if not gained:
        return Occlusion(studies=0, drop=0.0, drop_low=0.0)
    return Occlusion(studies=len(gained), drop=float(np.mean(gained)), drop_low=lower(gained))


def deletion(engine: Engine, item: Prepared, rng: np.random.Generator) -> float:
    """Loss of the probability of a grade of 2 or worse for the marked tenth, less the mean loss for random ones."""
    assert item.pixels_CHW is not None
    found = engine.evidence_map(item)
    field_SS = occlusion.field_of_view(item.pixels_CHW, engine.manifest.image)
    smooth_CSS = occlusion.without_detail(item.pixels_CHW, field_SS)
    marked_SS = marked(occlusion.upsampled(found.cells_RR, field_SS.shape[0]), field_SS)
    masks = [marked_SS, *(random_cells(field_SS, rng) for _ in range(_RANDOM))]
    copies_NCSS = np.stack([item.pixels_CHW, *(occlusion.blended(item.pixels_CHW, smooth_CSS, mask_SS) for mask_SS in masks)])
    whole, without_it, *without_others = expit(engine.referral_log_odds(item, copies_NCSS))
    return float((whole - without_it) - (whole - np.mean(without_others)))


def marked(map_SS: npt.NDArray[np.float32], field_SS: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The `SHARE` of the field of view where the map is highest."""
    return np.asarray(field_SS & (map_SS >= np.quantile(map_SS[field_SS], 1 - SHARE)))


def random_cells(field_SS: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """As much of the field of view, in cells of the map's size."""
    side_px, cells = field_SS.shape[0], occlusion.CELLS
    edges = occlusion.edges(side_px)
    wanted, mask_SS = SHARE * field_SS.sum(), np.zeros_like(field_SS)
    for place in rng.permutation(cells * cells):
        row, column = divmod(int(place), cells)
        mask_SS[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = True
        if (mask_SS & field_SS).sum() >= wanted:
            break
    return np.asarray(mask_SS & field_SS)


def lower(values: Sequence[float]) -> float:
    """Lower end of the 95 % interval of the mean, by bootstrap."""
    drawn = np.random.default_rng(0).choice(np.asarray(values), (_BOOTSTRAP, len(values)))
    return float(np.quantile(drawn.mean(axis=1), 0.025))


def _referred(engine: Engine, samples: Sequence[Sample]) -> Iterator[Prepared]:
    """The first `MOST` gradable photographs that the artefact takes for referable."""
    left = MOST
    for (item,) in photographs(engine, samples):
        if item.quality is not Quality.GRADABLE:
            continue
        assert item.pixels_CHW is not None
        if engine.referral_log_odds(item, item.pixels_CHW[None])[0] > _REFERRED:
            yield item
            left -= 1
            if not left:
                return
