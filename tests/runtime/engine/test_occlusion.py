"""Evidence maps: they point at what an answer hangs on, and at nothing else; they are of these weights and of no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from bundles import add_occlusion, open_engine, photograph, write_bundle

from foveal_runtime.bundle.bundle import Bundle
from foveal_runtime.engine.answers import Ask, Prepared, check_evidence
from foveal_runtime.engine.occlusion import CELLS, evidence_map, field_of_view, without_detail
from foveal_runtime.errors import UntrainedError
from foveal_runtime.photo.imaging import Crop, ImageSpec
from foveal_runtime.study.study import Modality, Record, Study

SPEC = ImageSpec(side_px=64, crop=Crop.FIELD)


def eye(*specks: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A plain round field, in standardised pixels, with a bright speck at each of these places."""
    y, x = np.mgrid[:64, :64]
    shown_CSS = np.where(np.hypot(y - 31.5, x - 31.5) < 31, 0.5, 0.0)[None].repeat(3, axis=0)
    for row, column in specks:
        shown_CSS[:, row - 1 : row + 2, column - 1 : column + 2] = 1.0
    shape = (3, 1, 1)
    return ((shown_CSS - np.reshape(SPEC.mean, shape)) / np.reshape(SPEC.std, shape)).astype(np.float32)


def prepared(pixels_CHW: npt.NDArray[np.float32]) -> Prepared:
    return Prepared(subset=frozenset({Modality.IMAGE}), pixels_CHW=pixels_CHW, frame=(0.1, 0.0, 0.9, 1.0))


def brightest(row: int, column: int) -> object:
    """A model that refers for a speck at this place."""
    return lambda pixels_NCHW: pixels_NCHW[:, 0, row, column].astype(np.float64)


def test_a_map_points_at_what_the_answer_hangs_on() -> None:
    found = evidence_map(prepared(eye((20, 44), (44, 20))), SPEC, brightest(20, 44))
    assert found.frame == (0.1, 0.0, 0.9, 1.0)
    assert found.cells_RR.shape == (CELLS, CELLS)
    assert np.unravel_index(found.cells_RR.argmax(), found.cells_RR.shape) == (20 // 8, 44 // 8)
    assert found.cells_RR[44 // 8, 20 // 8] == 0, "the other speck is nothing to this model"
    assert found.cells_RR[0, 0] == 0, "outside the field of view"
    assert found.cells_RR.max() == 1
    assert found.log_odds > 0.5


def test_where_nothing_speaks_for_referral_the_map_is_empty() -> None:
    found = evidence_map(prepared(eye((20, 44))), SPEC, lambda pixels_NCHW: -pixels_NCHW[:, 0, 20, 44].astype(np.float64))
    assert not found.cells_RR.any()
    assert found.log_odds == 0


def test_smoothing_takes_specks_away_and_leaves_the_surroundings_black() -> None:
    pixels_CHW = eye((32, 32))
    field_SS = field_of_view(pixels_CHW, SPEC)
    smooth_CSS = without_detail(pixels_CHW, field_SS)
    plain_CSS = eye()
    assert field_SS.mean() == pytest.approx(np.pi * 31**2 / 64**2, rel=0.02)
    assert np.abs(smooth_CSS - plain_CSS).max() < 0.3 * (pixels_CHW - plain_CSS).max()
    np.testing.assert_array_equal(smooth_CSS[:, ~field_SS], pixels_CHW[:, ~field_SS])


def test_other_weights_have_other_maps(tmp_path: Path) -> None:
    """The sanity check of Adebayo et al. 2018: a map that survives the randomising of its model shows the photograph alone."""
    engines = [open_engine(write_bundle(tmp_path / f"{seed}", seed=seed)) for seed in range(3)]
    alike, other = [], []
    for seed in range(6):
        study = Study(image=photograph(seed))
        maps = [engine.evidence_map(engine.prepare(study)).cells_RR.ravel() for engine in engines]
        again = engines[0].evidence_map(engines[0].prepare(Study(image=photograph(seed, format="PNG")))).cells_RR.ravel()
        alike.append(np.corrcoef(maps[0], again)[0, 1])
        other += [np.corrcoef(maps[0], maps[1])[0, 1], np.corrcoef(maps[0], maps[2])[0, 1]]
    assert np.nanmean(alike) > 0.9
    assert np.nanmean(other) < 0.5


def test_a_map_is_of_the_photograph_whatever_else_the_study_has(tmp_path: Path) -> None:
    engine = open_engine(add_occlusion(write_bundle(tmp_path / "b")))
    studies = [Study(image=photograph(1), note="macula", record=Record(age_years=60)), Study(note="macula")]
    whole, noted = engine.run_each([engine.prepare(study) for study in studies], [Ask(evidence=True)] * 2)
    (alone,) = engine.run_each([engine.prepare(Study(image=photograph(1)))], [Ask(evidence=True)])
    assert noted.evidence is None
    assert whole.evidence is not None
    assert alone.evidence is not None
    assert whole.evidence.frame == alone.evidence.frame
    assert not np.array_equal(whole.evidence.cells_RR, alone.evidence.cells_RR), "the grade that it explains is another"


@pytest.mark.parametrize(
    ("drop_low", "studies", "why"), [(None, 0, "never checked"), (-0.01, 16, "failed"), (0.2, 7, "failed")]
)
def test_unfaithful_maps_are_not_shown(tmp_path: Path, drop_low: float | None, studies: int, why: str) -> None:
    path = write_bundle(tmp_path / "b")
    if drop_low is not None:
        add_occlusion(path, drop_low=drop_low, studies=studies)
    with pytest.raises(UntrainedError, match=why):
        check_evidence(Bundle.open(path).manifest)
