"""Which settings were chosen by somebody, so that what was measured is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foveal_runtime.bundle.manifest import Evidence
from foveal_runtime.serving.config import ServeConfig, read_config


@pytest.mark.parametrize(
    ("text", "flags", "chosen"),
    [
        ("", {}, False),
        ('collection = "clinic"\n[queue]\nmax_studies = 64\n[batch]\nworker_timeout_s = 20', {}, False),
        ("workers = 2", {}, True),
        ("threads = 1", {}, True),
        ("[batch]\nmax_studies = 4", {}, True),
        ("", {"threads": 1}, True),
        ("", {"max_batch": 8}, True),
        ("", {"address": "127.0.0.1:0"}, False),
    ],
)
def test_a_file_that_names_none_of_what_is_measured_leaves_the_plan_alone(
    tmp_path: Path, text: str, flags: dict[str, Any], chosen: bool
) -> None:
    (tmp_path / "serve.toml").write_text(text)
    assert read_config(tmp_path / "serve.toml", {"bundle": Path("b"), **flags}).chosen is chosen


def test_each_flag_allows_one_kind_of_evidence() -> None:
    given = {
        (unverified, untrained): ServeConfig(bundle=Path("b"), allow_unverified=unverified, allow_untrained=untrained).given
        for unverified in (False, True)
        for untrained in (False, True)
    }
    assert given[False, False] == {Evidence.PROVEN}
    assert given[True, False] == {Evidence.PROVEN, Evidence.UNVERIFIED}
    assert given[False, True] == {Evidence.PROVEN, Evidence.CHANCE}


def test_the_clinics_threshold_may_stand_in_the_file_and_a_flag_wins(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text('bundle = "b"\nquality = "clinic.json"')
    assert read_config(tmp_path / "serve.toml", {}).quality == Path("clinic.json")
    assert read_config(tmp_path / "serve.toml", {"quality": Path("other.json")}).quality == Path("other.json")
    assert ServeConfig(bundle=Path("b")).quality is None
