"""A clinic's own threshold: how it is fitted, and which files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveal_runtime.errors import ConfigError
from foveal_runtime.photo.quality import shipped_check
from foveal_runtime.photo.site import fit_site, read_site, site_document

MANY = [0.9 + i / 10_000 for i in range(200)]


def test_usable_photographs_alone_never_raise_the_threshold() -> None:
    assert fit_site(MANY).min_gradable == shipped_check().min_gradable


def test_usable_photographs_bring_the_threshold_down_as_far_as_asked() -> None:
    low = [0.02, 0.03, 0.04, *MANY]
    assert fit_site(low, refuse=0.0).usable_refused == 0
    site = fit_site(low, refuse=0.01)
    assert site.usable_refused == 2
    assert site.min_gradable == pytest.approx(0.04, abs=1e-3)


def test_unusable_photographs_let_it_rise() -> None:
    site = fit_site(MANY, [0.5, 0.6, 0.95], refuse=0.0)
    assert site.min_gradable > 0.89
    assert (site.unusable, site.unusable_refused) == (3, 2)


def test_no_more_than_asked_is_refused_at_any_share() -> None:
    for refuse in (0.0, 0.01, 0.05, 0.5):
        site = fit_site(MANY, [0.1], refuse=refuse)
        assert site.usable_refused <= refuse * len(MANY)


@pytest.mark.parametrize(
    ("usable", "refuse", "message"),
    [(MANY[:5], 0.01, "at least 20"), (MANY, 0.9, "0 to 0.5"), ([0.0001] * 50, 0.01, "nearly anything passes")],
)
def test_what_cannot_be_fitted_is_said(usable: list[float], refuse: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_site(usable, refuse=refuse)


def test_a_written_threshold_is_read_back(tmp_path: Path) -> None:
    site = fit_site(MANY)
    (tmp_path / "clinic.json").write_text(json.dumps(site_document(site)))
    assert read_site(tmp_path / "clinic.json") == site


@pytest.mark.parametrize(
    "changed",
    [
        {"min_gradable": 0.0}, {"min_gradable": 1.0}, {"min_gradable": float("nan")}, {"min_gradable": float("inf")},
        {"min_gradable": "0.5"}, {"min_gradable": None}, {"min_gradable": True}, {"format_version": 2}, {"check": "0" * 16},
        {"usable": -1}, {"usable": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_threshold_is_refused_and_the_mend_is_named(tmp_path: Path, changed: dict[str, object]) -> None:
    path = tmp_path / "clinic.json"
    path.write_text(json.dumps(site_document(fit_site(MANY)) | changed))
    with pytest.raises(ConfigError, match="foveal quality fit"):
        read_site(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_threshold_at_all_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "clinic.json").write_text(text)
    with pytest.raises(ConfigError, match="foveal quality fit"):
        read_site(tmp_path / "clinic.json")
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        read_site(tmp_path / "nowhere.json")
