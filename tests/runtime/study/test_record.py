"""Records as features: who has no diabetes has had it for no years, where the model was trained so."""

from __future__ import annotations

import numpy as np
import pytest

from foveal_runtime.study.record import DIABETES, DURATION, RecordSpec, encode_record, fit_stats
from foveal_runtime.study.study import Record

HEALTHY = Record(age_years=50, diabetes=False)
KNOWN = [Record(age_years=60, diabetes=True, diabetes_years=years) for years in (8, 10, 15)]
UNKNOWN = Record(age_years=60, diabetes=True)
ZERO = RecordSpec(no_diabetes_is_zero=True)


def test_a_person_without_diabetes_has_had_it_for_zero_years() -> None:
    stats = fit_stats([*KNOWN, HEALTHY, HEALTHY], ZERO)
    assert stats.fill[DURATION] == 10  # the median of those who have a duration
    assert stats.mean[DURATION] == pytest.approx(33 / 5)
    healthy, unknown, known = (encode_record(record, stats) for record in (HEALTHY, UNKNOWN, KNOWN[0]))
    back = [one.features_F[DURATION] * stats.std[DURATION] + stats.mean[DURATION] for one in (healthy, unknown, known)]
    assert back == pytest.approx([0, 10, 8], abs=1e-5)
    assert [one.features_F[-1] for one in (healthy, unknown, known)] == [1, 1, 0]
    assert "diabetes_years" not in healthy.imputed  # nothing was guessed
    assert "diabetes_years" in unknown.imputed
    assert len(healthy.features_F) == len(ZERO.features) == 7


def test_the_papers_way_fills_in_the_diabetics_median() -> None:
    stats = fit_stats([*KNOWN, HEALTHY])
    healthy = encode_record(HEALTHY, stats)
    assert healthy.features_F[DURATION] * stats.std[DURATION] + stats.mean[DURATION] == pytest.approx(10, abs=1e-5)
    assert len(healthy.features_F) == 6
    assert healthy.features_F[DIABETES] == 0
    assert np.array_equal(healthy.features_F, encode_record(HEALTHY, fit_stats([*KNOWN, HEALTHY])).features_F)
